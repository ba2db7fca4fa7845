using System.Diagnostics;
using System.Runtime.InteropServices;
using KvCache.Client;

namespace KvCache.QuickStart;

/// <summary>What a feature did.</summary>
/// <param name="Feature">Its name.</param>
/// <param name="Passed">Whether it did what it is for.</param>
/// <param name="Seen">What was seen.</param>
internal sealed record CheckedFeature(string Feature, bool Passed, string Seen);

/// <summary>Tries the features one by one, each with a few blocks of made-up KV.</summary>
/// <param name="endpoint">Data-plane address of a silo.</param>
/// <param name="tenant">Its tenant.</param>
/// <param name="secret">The tenant's secret.</param>
internal sealed class CheckUp(string endpoint, string tenant, string secret)
{
    private const int Blocks = 4;
    private const string Nobody = "tcp:127.0.0.1:1";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Life = TimeSpan.FromMilliseconds(200);

    private readonly CacheNamespace _ns = new()
    {
        Tenant = tenant,
        Model = "check-up",
        Layout = KvLayout.Create(layers: 2, kvHeads: 2, headDim: 32, KvDataType.Float32, tokensPerBlock: 16),
    };

    public async Task<IReadOnlyList<CheckedFeature>> RunAsync(CancellationToken cancellationToken)
    {
        await using var silo = Connect(endpoint);
        return
        [
            await LocalAsync(cancellationToken), Serializer(), await PrefixesAsync(silo, cancellationToken),
            await LivesAsync(silo, cancellationToken), await StatisticsAsync(silo, cancellationToken),
            await HealthAsync(silo, cancellationToken), await FailoverAsync(cancellationToken),
        ];
    }

    private async Task<CheckedFeature> LocalAsync(CancellationToken cancellationToken)
    {
        await using var cache = new LocalKvCache(ByteSize.MiB(16));
        var prefix = PrefixOf(first: 0);
        var blocks = Values();
        await cache.StoreAsync(prefix, 0, blocks, cancellationToken: cancellationToken);
        var (loaded, same) = await LoadAsync(cache, prefix, blocks, cancellationToken);
        return new("local cache", loaded == Blocks && same, $"{loaded} of {Blocks} blocks come back from this process, byte for byte");
    }

    private CheckedFeature Serializer()
    {
        var block = Values()[0].Span;
        var encoding = new TensorEncoding(ElementEncoding.Float16, TensorCompression.FloatPlanes);
        var encoded = new byte[BatchTensorSerializer.MaxEncodedBytes(_ns.Layout, encoding)];
        var length = BatchTensorSerializer.Encode(block, _ns.Layout, encoded.AsSpan(), encoding);
        var decoded = new byte[block.Length];
        BatchTensorSerializer.Decode(encoded.AsSpan(0, length), _ns.Layout, _ns.Layout.AllLayers, decoded);
        var error = 0f;
        for (var i = 0; i < block.Length; i += sizeof(float))
            error = Math.Max(error, Math.Abs(MemoryMarshal.Read<float>(block[i..]) - MemoryMarshal.Read<float>(decoded.AsSpan(i))));
        return new("serializer", error < 0.001 && length < block.Length, $"float16: {length} instead of {block.Length} bytes");
    }

    private async Task<CheckedFeature> PrefixesAsync(KvCacheClient silo, CancellationToken cancellationToken)
    {
        var stored = PrefixOf(first: 0);
        await silo.StoreAsync(stored, 0, Values(), cancellationToken: cancellationToken);
        var other = KvPrefix.Of(_ns, [.. Enumerable.Range(0, 40), .. Enumerable.Repeat(7, 24)]); // parts in the third block
        await using var match = await silo.MatchAsync(other, cancellationToken: cancellationToken);
        await using var foreign = await silo.MatchAsync(
            new KvPrefix(_ns with { Revision = "other weights" }, stored.Chain), cancellationToken: cancellationToken);
        return new(
            "prefix matching", match.Blocks == 2 && foreign.Blocks == 0,
            $"{match.Blocks} of {Blocks} blocks for a prompt that begins alike, {foreign.Blocks} for another model");
    }

    private async Task<CheckedFeature> LivesAsync(KvCacheClient silo, CancellationToken cancellationToken)
    {
        var prefix = PrefixOf(first: 1000);
        var stored = await silo.StoreAsync(prefix, 0, Values(), new StoreOptions(TimeToLive: Life), cancellationToken);
        var began = Stopwatch.GetTimestamp();
        int left;
        do
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), cancellationToken);
            await using var match = await silo.MatchAsync(prefix, cancellationToken: cancellationToken);
            left = match.Blocks;
        }
        while (left > 0 && Stopwatch.GetElapsedTime(began) < Patience);
        return new("life (TTL)", stored.Stored == Blocks && left == 0, $"{stored.Stored} blocks stored for 200 ms, {left} left");
    }

    private async Task<CheckedFeature> StatisticsAsync(KvCacheClient silo, CancellationToken cancellationToken)
    {
        silo.ResetStatistics();
        await LoadAsync(silo, PrefixOf(first: 0), Values(), cancellationToken);
        await LoadAsync(silo, PrefixOf(first: 2000), Values(), cancellationToken);
        var statistics = await silo.GetStatisticsAsync(cancellationToken);
        return new(
            "statistics", statistics is { Hits: Blocks, HitRate: 0.5 },
            $"{statistics.Hits} hits, {statistics.Misses.Values.Sum()} misses counted for as many");
    }

    private async Task<CheckedFeature> HealthAsync(KvCacheClient silo, CancellationToken cancellationToken)
    {
        await using var nobody = Connect(Nobody);
        var (here, there) = (await silo.GetHealthAsync(cancellationToken), await nobody.GetHealthAsync(cancellationToken));
        return new("health", here.IsAvailable && !there.IsAvailable, "the silo answers; an address without one says so");
    }

    private async Task<CheckedFeature> FailoverAsync(CancellationToken cancellationToken)
    {
        await using var client = Connect(Nobody, endpoint);
        var (loaded, same) = await LoadAsync(client, PrefixOf(first: 0), Values(), cancellationToken);
        return new(
            "failover", loaded == Blocks && same, $"the first of two addresses is dead: {loaded} of {Blocks} blocks from the second");
    }

    private KvCacheClient Connect(params IEnumerable<string> endpoints)
    {
        var options = new KvCacheClientOptions
        {
            Tenant = tenant,
            Secret = secret,
            MatchTimeout = Patience,
            LoadTimeout = Patience,
            StoreTimeout = Patience,
        };
        foreach (var address in endpoints)
            options.Endpoints.Add(address);
        return new KvCacheClient(options);
    }

    private KvPrefix PrefixOf(int first) => KvPrefix.Of(_ns, [.. Enumerable.Range(first, Blocks * _ns.Layout.TokensPerBlock)]);

    private ReadOnlyMemory<byte>[] Values() =>
    [
        .. Enumerable.Range(0, Blocks).Select(block => (ReadOnlyMemory<byte>)MemoryMarshal.AsBytes(
            Enumerable.Range(0, _ns.Layout.BlockBytes / sizeof(float)).Select(i => MathF.Sin(block + i)).ToArray().AsSpan()).ToArray()),
    ];

    private static async Task<(int Loaded, bool Same)> LoadAsync(
        IKvCache cache, KvPrefix prefix, ReadOnlyMemory<byte>[] expected, CancellationToken cancellationToken)
    {
        var room = expected.Select(block => new byte[block.Length]).ToArray();
        var result = await cache.LoadAsync(prefix, 0, [.. room.Select(block => block.AsMemory())], cancellationToken: cancellationToken);
        return (result.Blocks, room.Zip(expected).All(pair => pair.Second.Span.SequenceEqual(pair.First)));
    }
}
