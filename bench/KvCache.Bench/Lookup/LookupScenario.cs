using System.CommandLine;
using System.Net;
using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Processes;
using KvCache.Bench.Raw;
using KvCache.Bench.Redis;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.Engine.Index;

namespace KvCache.Bench.Lookup;

/// <summary>How long it takes to learn how much of a 128k-token prompt is cached, beside Redis' EXISTS of the same blocks.</summary>
internal sealed class LookupScenario : Scenario
{
    private readonly Option<int> _blocks = new("--blocks")
    {
        Description = "Blocks in the index and keys in Redis.",
        DefaultValueFactory = _ => 1_000_000,
    };

    public override string Name => "lookup";

    public override string Description => "Match of a 128k-token prompt inside a silo and from a client, beside Redis' EXISTS of 512 keys.";

    public override IEnumerable<Option> Options => [_blocks];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var blocks = context.Arguments.GetValue(_blocks);
        var (stored, absent) = (LookupChains.Stored(blocks), LookupChains.Absent());
        context.Log($"{stored.All.Length:N0} blocks, {stored.Count} prompts of {LookupChains.Length} blocks");
        using var owned = new Owned();
        var contenders = new List<LatencyContender>();
        var rows = new List<BenchRow>();
        AddHashing(contenders);
        rows.Add(AddInside(contenders, stored, absent));
        AddSilo(contenders, owned, stored, absent, blocks);
        AddRedis(contenders, owned, stored, context);
        contenders.ForEach(contender => contender.WarmUp());

        var ratios = new List<RatioRow>();
        var shape = new RowShape("us", null, 1, LookupChains.Length);
        RoundRows.Add(contenders, InterleavedRounds.Run(contenders, context.Rounds, cancellation), shape, rows, ratios);
        rows.AddRange(contenders.Select(contender => shape.Row($"{contender.Name}.p99", contender.Tails)));
        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    private static void AddHashing(List<LatencyContender> contenders)
    {
        var tokens = new int[LookupChains.Tokens];
        new Random(1).NextBytes(System.Runtime.InteropServices.MemoryMarshal.AsBytes(tokens.AsSpan()));
        var hashes = new BlockHash[LookupChains.Length];
        contenders.Add(new LatencyContender("hash.128k", [], _ => PrefixHasher.HashTokens(tokens, LookupChains.TokensPerBlock, hashes)));
    }

    private static RateRow AddInside(List<LatencyContender> contenders, LookupChains stored, LookupChains absent)
    {
        var ns = LookupChains.Namespace.Id;
        var index = new PrefixIndex();
        foreach (ref readonly var hash in stored.All)
            index.Add(new BlockKey(ns, hash), BlockDirectory.Self);
        var masks = new ulong[LookupChains.Length];

        // As in a silo, where those that have not spoken lately do not count.
        const ulong live = 1UL << BlockDirectory.Self | 1UL << PrefixIndex.RedisHolder;
        contenders.Add(Matching("match.inside", [], stored, LookupChains.Length, hashes => index.Match(ns, hashes, masks, live)));
        contenders.Add(Matching("match.absent.inside", [], absent, 0, hashes => index.Match(ns, hashes, masks, live)));
        return new RowShape("bytes", null, 1).Row("index.bytes_per_block", [(double)index.MemoryBytes / index.Count]);
    }

    private static void AddSilo(List<LatencyContender> contenders, Owned owned, LookupChains stored, LookupChains absent, int blocks)
    {
        var silo = owned.Add(IndexedSilo.Start(blocks));
        foreach (var transport in new[] { "tcp", "unix" })
        {
            var connection = owned.Add(silo.Connect(transport));
            string[] yardstick = [$"redis.exists.{transport}"];
            contenders.Add(
                Matching($"match.{transport}", yardstick, stored, LookupChains.Length,
                hashes => connection.Match([LookupChains.Namespace], hashes, default).Found));
            contenders.Add(
                Matching($"match.hot.{transport}", [$"redis.exists.hot.{transport}"], stored, LookupChains.Length,
                _ => connection.Match([LookupChains.Namespace], stored.OfCall(0), default).Found));
            contenders.Add(
                Matching($"match.absent.{transport}", yardstick, absent, 0,
                hashes => connection.Match([LookupChains.Namespace], hashes, default).Found));
        }
    }

    private static void AddRedis(List<LatencyContender> contenders, Owned owned, LookupChains stored, ScenarioContext context)
    {
        if (ComparedRedis.TryOpen(context.Redis) is not { } redis)
        {
            context.Log($"SKIPPED: rows of Redis; {ComparedRedis.Missing}");
            return;
        }

        owned.Add(redis);
        owned.Add(new RedisIndex(RespClient.Connect(redis.Tcp, default), stored));
        foreach (var (way, address) in redis.Ways)
        {
            var transport = way is RawTransport.Tcp ? "tcp" : "unix";
            var client = owned.Add(RespClient.Connect(address, default));
            var commands = Enumerable.Range(0, stored.Count).Select(prompt => RedisIndex.Exists(stored.OfCall(prompt))).ToArray();
            contenders.Add(Asking($"redis.exists.{transport}", call => commands[(int)((uint)call % (uint)commands.Length)]));
            contenders.Add(Asking($"redis.exists.hot.{transport}", _ => commands[0]));

            LatencyContender Asking(string name, Func<int, byte[]> command) => new(name, [], call =>
            {
                client.Send(command(call));
                Check(name, LookupChains.Length, client.ReceiveNumber());
            });
        }
    }

    private static LatencyContender Matching(
        string name, IReadOnlyList<string> comparedWith, LookupChains chains, int expected, Matcher match) =>
        new(name, comparedWith, call => Check(name, expected, match(chains.OfCall(call))));

    private static void Check(string name, long expected, long found)
    {
        if (found != expected)
            throw new IOException($"{name} found {found} of {expected} blocks: a benchmark of misses would be a fast one.");
    }

    private delegate int Matcher(ReadOnlySpan<BlockHash> hashes);
}
