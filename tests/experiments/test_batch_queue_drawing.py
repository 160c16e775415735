from experiments.batch_queue_drawing import num_executed, replay, solve, stiffness


def test_the_drawn_queue_executes_what_the_solve_executes():
    attempts, executed = solve(stiffness(40), 32)
    loops = replay(attempts, 32)
    assert [loop.width for loop in loops] == [32, 4]
    assert num_executed(loops) == executed
    drawn = [0] * 40
    for bar in (bar for loop in loops for bar in loop.bars):
        drawn[bar.trajectory] += bar.length
    assert drawn == attempts.tolist()
