using KvCache.Client.Cluster;
using Xunit;

namespace KvCache.UnitTests;

public sealed class LayerBoardTests
{
    private static readonly LayerRange Range = new(2, 3);

    private readonly LayerBoard _board = new(4, Range);

    [Fact]
    public async Task A_layer_is_announced_when_every_block_has_it()
    {
        var first = _board.NextAsync(2).AsTask();
        _board.Arrived(2, [0, 1], 2);
        _board.Arrived(3, [0, 1], 2);
        Assert.False(first.IsCompleted);
        _board.Arrived(2, [2, 3], 2);
        Assert.Equal(new LoadedLayer(2, 4, MissReason.None), await first);
        var second = _board.NextAsync(3).AsTask();
        Assert.False(second.IsCompleted);
        _board.Arrived(4, [2, 3], 2);
        Assert.Equal(new LoadedLayer(3, 4, MissReason.None), await second);
    }

    [Fact]
    public async Task Blocks_that_nobody_has_are_not_waited_for()
    {
        var first = _board.NextAsync(2).AsTask();
        _board.Arrived(2, [0, 1], 2);
        _board.GiveUp(2, MissReason.Absent);
        Assert.Equal(new LoadedLayer(2, 2, MissReason.Absent), await first);
        _board.GiveUp(3, MissReason.Corrupt); // behind what was lost before
        _board.Arrived(3, [0, 1], 1);
        _board.Finish(MissReason.Unavailable);
        Assert.Equal(new LoadedLayer(3, 0, MissReason.Unavailable), await _board.NextAsync(3));
    }

    [Fact]
    public async Task A_block_is_begun_anew_before_the_first_layer_is_announced_and_never_after()
    {
        _board.Arrived(2, [0, 1, 2, 3], 4);
        Assert.True(_board.TryRestart([1, 3], MissReason.Corrupt));
        var first = _board.NextAsync(2).AsTask();
        Assert.False(first.IsCompleted);
        _board.Arrived(2, [1, 3], 2);
        Assert.Equal(4, (await first).Blocks);
        Assert.False(_board.TryRestart([1, 3], MissReason.Corrupt));
        _board.Arrived(4, [0], 1);
        _board.Finish(MissReason.Unavailable);
        Assert.Equal(new LoadedLayer(3, 1, MissReason.Corrupt), await _board.NextAsync(3));
        Assert.Equal(new LoadedLayer(4, 1, MissReason.Corrupt), await _board.NextAsync(4));
        Assert.Equal(1, _board.FirstIncomplete);
    }

    [Fact]
    public async Task A_load_that_brought_nothing_ends_with_its_reason()
    {
        var first = _board.NextAsync(2).AsTask();
        _board.Finish(MissReason.Deadline);
        Assert.Equal(new LoadedLayer(2, 0, MissReason.Deadline), await first);
    }
}
