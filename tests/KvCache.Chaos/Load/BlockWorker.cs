using System.Diagnostics;
using KvCache.Chaos.Checkers;
using KvCache.Chaos.Worlds;
using KvCache.Client;

namespace KvCache.Chaos.Load;

/// <summary>An engine: it reads everybody's chains through its client, and stores, deletes and ends its own.</summary>
internal sealed class BlockWorker : Worker
{
    private readonly KvCacheClient _client;
    private readonly string _door;
    private readonly Chain[] _own;
    private readonly IReadOnlyList<Chain> _all;
    private readonly Dictionary<int, Memory<byte>[]> _memory = [];

    public BlockWorker(
        int number, World world, Journal journal, SeededContent content, Random dice, Chain[] own, IReadOnlyList<Chain> all)
        : base(journal, content, dice)
    {
        var home = number % world.Silos.Length;
        (_client, _door, _own, _all) = (world.Connect(home), $"a client at home at silo {home}", own, all);
    }

    public override ValueTask DisposeAsync() => _client.DisposeAsync();

    protected override Task StepAsync() => Dice.Next(100) switch
    {
        < 58 => ReadAsync(AnyChain()),
        < 66 => ReadLayersAsync(AnyChain()),
        < 70 => HoldAndReadAsync(AnyChain()),
        < 88 => StoreAsync(OwnChain(), Dice.NextDouble() < 0.15 ? TimeSpan.FromSeconds(2 + Dice.Next(3)) : null),
        < 94 => DeleteAsync(OwnChain()),
        < 97 => ExpireAsync(OwnChain()),
        _ => PinAsync(OwnChain()),
    };

    private Chain OwnChain() => _own[Dice.Next(_own.Length)];

    // Some are hot.
    private Chain AnyChain() => _all[(int)(Math.Pow(Dice.NextDouble(), 2) * _all.Count)];

    private async Task ReadAsync(Chain chain)
    {
        var memory = MemoryFor(chain, chain.BlockBytes);
        var (before, began) = (chain.State, Stopwatch.GetTimestamp());
        var loaded = await CallAsync("load", () => _client.LoadAsync(chain.Prefix, 0, memory), result => result.Reason).ConfigureAwait(
            false);
        for (var block = 0; block < loaded.Blocks; block++)
            Tell(chain, block, memory[block].Span, before, began, _door);
    }

    // A run of layers has no head that names its version, unless it has the first one: those that may be there are tried.
    private async Task ReadLayersAsync(Chain chain)
    {
        var layout = chain.Prefix.Namespace.Layout;
        var first = Dice.Next(layout.Layers);
        var range = new LayerRange(first, 1 + Dice.Next(layout.Layers - first));
        var memory = MemoryFor(chain, layout.RangeBytes(range));
        var (before, began) = (chain.State, Stopwatch.GetTimestamp());
        var loaded = await CallAsync("load layers", () => _client.LoadAsync(chain.Prefix, 0, memory, range), result => result.Reason)
            .ConfigureAwait(false);
        var offset = Enumerable.Range(0, first).Sum(layout.LayerBytes);
        for (var block = 0; block < loaded.Blocks; block++)
        {
            var version = chain.State.Attempted;
            while (version > 0 && !Content.IsVersion(memory[block].Span, offset, chain.Number, block, version))
                version--;
            Journal.Read(new BlockRead(chain, block, version, before, began, $"layers {range} through {_door}"));
        }
    }

    private async Task HoldAndReadAsync(Chain chain)
    {
        var match = await CallAsync(
            "match", () => _client.MatchAsync(chain.Prefix, TimeSpan.FromSeconds(1)), result => result.Reason).ConfigureAwait(false);
        await ReadAsync(chain).ConfigureAwait(false);
        if (match is not null)
            await match.DisposeAsync().ConfigureAwait(false);
    }

    private async Task StoreAsync(Chain chain, TimeSpan? life)
    {
        var version = NextVersion(chain, life is not null);
        if (version == 0)
            return;
        var options = new StoreOptions(
            TimeToLive: life,
            Durability: Dice.NextDouble() < 0.4 ? Durability.Persisted : Durability.Memory,
            Replicas: Dice.NextDouble() < 0.3 ? 2 : 1);
        var failures = _client.Failures;
        var result = await CallAsync(
            "store", () => _client.StoreAsync(chain.Prefix, 0, BlocksOf(chain, version), options), stored => stored.Reason)
            .ConfigureAwait(false);
        if (result.Reason != MissReason.None || _client.Failures != failures || result == default)
            MarkUncertain(chain, version);
        if (life is { } some)
            chain.Change(state => state with { Ends = state.Ends.SetItem(version, After(some)) });
    }

    private async Task DeleteAsync(Chain chain)
    {
        var last = chain.State.Attempted;
        var result = await CallAsync("delete", () => _client.DeleteAsync(chain.Prefix), static _ => MissReason.None).ConfigureAwait(false);

        if (result.IsConfirmed)
            chain.Change(state => state with { Deleted = last });
    }

    private async Task ExpireAsync(Chain chain)
    {
        var state = chain.State;
        if (state.IsOver || state.Uncertain.Contains(state.Attempted))
            return;
        var life = TimeSpan.FromSeconds(1 + Dice.Next(3));
        var count = await CallAsync("expire", () => _client.ExpireAsync(chain.Prefix, life), static _ => MissReason.None)
            .ConfigureAwait(false);
        if (count == chain.Blocks)
            chain.Change(now => now with { Ends = now.Ends.SetItem(state.Attempted, After(life)) });
    }

    private Task<int> PinAsync(Chain chain) =>
        CallAsync("pin", () => _client.PinAsync(chain.Prefix, TimeSpan.FromSeconds(Dice.Next(3))), static _ => MissReason.None);

    private Memory<byte>[] MemoryFor(Chain chain, int bytes)
    {
        if (!_memory.TryGetValue(bytes, out var memory) || memory.Length < chain.Blocks)
            _memory[bytes] = memory = [.. Enumerable.Range(0, chain.Blocks).Select(_ => (Memory<byte>)new byte[bytes])];
        return memory.Length == chain.Blocks ? memory : memory[..chain.Blocks];
    }
}
