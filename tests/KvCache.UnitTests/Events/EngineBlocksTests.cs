using KvCache.Engine.Events;
using Xunit;

namespace KvCache.UnitTests;

public sealed class EngineBlocksTests
{
    private static readonly int[] Prompt = [.. Enumerable.Range(0, 100)];

    private readonly EngineBlocks _blocks = new(8);

    [Fact]
    public void Blocks_are_found_by_tokens_whatever_the_engine_calls_them()
    {
        _blocks.Apply(Stored(first: 0, count: 2, hash: 100));
        _blocks.Apply(Stored(first: 2, count: 1, hash: 102, parent: 101));

        Assert.Equal(48, _blocks.FrontTokens(Prompt));
        Assert.Equal(32, _blocks.FrontTokens(Prompt.AsSpan(0, 47)));
        Assert.Equal(0, _blocks.FrontTokens([1, .. Prompt]));
    }

    [Fact]
    public void A_removed_block_ends_what_is_found()
    {
        _blocks.Apply(Stored(first: 0, count: 3, hash: 100));
        _blocks.Apply(new BlockRemovedEvent { Hashes = [101] });
        Assert.Equal(16, _blocks.FrontTokens(Prompt));
        _blocks.Apply(new AllBlocksClearedEvent());
        Assert.Equal(0, _blocks.FrontTokens(Prompt));
        Assert.Equal(0, _blocks.Count);
    }

    [Fact]
    public void A_block_under_two_hashes_goes_with_the_second()
    {
        _blocks.Apply(Stored(first: 0, count: 1, hash: 100));
        _blocks.Apply(Stored(first: 0, count: 1, hash: 200));
        _blocks.Apply(Stored(first: 0, count: 1, hash: 200));
        _blocks.Apply(new BlockRemovedEvent { Hashes = [100] });
        Assert.Equal(16, _blocks.FrontTokens(Prompt));
        _blocks.Apply(new BlockRemovedEvent { Hashes = [200] });
        Assert.Equal(0, _blocks.FrontTokens(Prompt));
    }

    [Fact]
    public void What_is_not_in_the_first_group_of_the_gpu_does_not_count()
    {
        _blocks.Apply(Stored(first: 0, count: 1, hash: 100) with { Medium = "CPU" });
        _blocks.Apply(Stored(first: 0, count: 1, hash: 100) with { Group = 1 });
        Assert.Equal(0, _blocks.FrontTokens(Prompt));
        _blocks.Apply(Stored(first: 0, count: 1, hash: 100) with { Medium = KvEvent.Gpu, Group = 0 });
        _blocks.Apply(new BlockRemovedEvent { Hashes = [100], Medium = "CPU" });
        Assert.Equal(16, _blocks.FrontTokens(Prompt));
    }

    [Fact]
    public void Adapters_and_extra_keys_keep_equal_tokens_apart()
    {
        _blocks.Apply(Stored(first: 0, count: 1, hash: 100) with { LoraAdapter = "a" });
        Assert.Equal((0, 16, 0), (_blocks.FrontTokens(Prompt), _blocks.FrontTokens(Prompt, "a"), _blocks.FrontTokens(Prompt, "b")));
        _blocks.Apply(Stored(first: 0, count: 2, hash: 200) with { ExtraKeys = [[0x91, 0xA1, 0x73], []] });
        Assert.Equal(0, _blocks.FrontTokens(Prompt));
    }

    [Fact]
    public void A_full_table_and_an_unknown_parent_cost_only_what_is_new()
    {
        _blocks.Apply(Stored(first: 0, count: 6, hash: 100));
        _blocks.Apply(new BlockStoredEvent { Hashes = [1, 2, 3], Tokens = [.. Enumerable.Range(500, 48)], TokensPerBlock = 16 });
        Assert.Equal((8, 1L, 96), (_blocks.Count, _blocks.Dropped, _blocks.FrontTokens(Prompt)));
        _blocks.Apply(Stored(first: 0, count: 1, hash: 300, parent: 999));
        Assert.Equal((8, 2L), (_blocks.Count, _blocks.Dropped));
    }

    [Fact]
    public void An_event_whose_tokens_do_not_fit_its_blocks_is_not_taken()
    {
        _blocks.Apply(new BlockStoredEvent { Hashes = [1, 2], Tokens = [.. Enumerable.Range(0, 31)], TokensPerBlock = 16 });
        _blocks.Apply(new BlockStoredEvent { Hashes = [1], Tokens = [], TokensPerBlock = 0 });
        Assert.Equal(0, _blocks.Count);
    }

    private static BlockStoredEvent Stored(int first, int count, ulong hash, ulong? parent = null) => new()
    {
        Hashes = [.. Enumerable.Range(0, count).Select(i => hash + (ulong)i)],
        Parent = parent,
        Tokens = Prompt[(first * 16)..((first + count) * 16)],
        TokensPerBlock = 16,
    };
}
