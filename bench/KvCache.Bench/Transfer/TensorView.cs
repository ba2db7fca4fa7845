using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Memory;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.Bench.Transfer;

/// <summary>
/// A block of a silo as a tensor over the silo's memory, by way of the public client: a lease, a view, and the end of both. All sizes run
/// in the same rounds, as the question is whether they differ.
/// </summary>
internal sealed class TensorView : IDisposable
{
    /// <summary>With leases that the client keeps, which is what it does by default.</summary>
    public const string Kept = "view.shm";

    /// <summary>With a lease from the silo for every view.</summary>
    public const string Asked = "view.shm.asked";

    private const int Layers = 8, Heads = 8, Dimension = 64;
    private const long TokenBytes = Layers * 2 * Heads * Dimension * 2; // keys and values of bfloat16
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly KvCacheClient _client;
    private readonly KvPrefix _prefix;
    private readonly string _name;

    private TensorView(string name, BenchSilo silo, long bytes)
    {
        _name = name;
        var layout = KvLayout.Create(Layers, Heads, Dimension, KvDataType.BFloat16, checked((int)(bytes / TokenBytes)));
        var ns = new CacheNamespace { Tenant = "default", Model = $"bench.{name}", Layout = layout };
        _prefix = KvPrefix.Of(ns, new int[layout.TokensPerBlock]);
        _client = silo.Client("shm", Patience, name == Asked ? TimeSpan.Zero : null);
        using var source = WarmBuffer.Private(bytes);
        if (_client.StoreAsync(_prefix, 0, [WarmMemory.Block(source, 0, layout.BlockBytes)]).AsTask().GetAwaiter()
            .GetResult() is { Stored: not 1 } refused)
            throw new IOException($"The silo refused a block of the benchmark: {refused.Reason}.");
    }

    /// <summary>Adds the rows of the named ways, one for each size.</summary>
    /// <param name="silo">A silo that shares its memory, with room for a block of each size.</param>
    /// <param name="names">Some of <see cref="Kept"/> and <see cref="Asked"/>.</param>
    /// <param name="sizes">Sizes of blocks, in bytes.</param>
    /// <param name="context">Rounds, and where to say what is left out.</param>
    /// <param name="rows">The report.</param>
    /// <param name="cancellation">Ends the rounds.</param>
    public static void Measure(
        BenchSilo silo, IReadOnlyList<string> names, IEnumerable<long> sizes, ScenarioContext context, List<BenchRow> rows,
        CancellationToken cancellation)
    {
        if (names.Count == 0)
            return;
        long[] possible = [.. sizes.Where(bytes => bytes % TokenBytes == 0)];
        if ((LibTorch.WhyNot()
            ?? (possible.Length == 0 ? $"no size is a multiple of the {TokenBytes} bytes of a token." : null)) is { } reason)
        {
            context.Log($"SKIPPED: rows {string.Join(", ", names)}; {reason}");
            return;
        }

        context.Log("Tensor views");
        using var owned = new Processes.Owned();
        var contenders = new List<LatencyContender>();
        var shapes = new List<RowShape>();
        foreach (var bytes in possible)
        {
            foreach (var name in names)
            {
                var view = owned.Add(new TensorView(name, silo, bytes));
                contenders.Add(new LatencyContender(name, [], _ => view.Open()));
                shapes.Add(new RowShape("us", bytes, 1));
            }
        }

        contenders.ForEach(contender => contender.WarmUp());
        var figures = InterleavedRounds.Run(contenders, context.Rounds, cancellation);
        for (var i = 0; i < contenders.Count; i++)
        {
            rows.Add(shapes[i].Row(contenders[i].Name, figures[i]));
            rows.Add(shapes[i].Row($"{contenders[i].Name}.p99", contenders[i].Tails));
        }
    }

    public void Dispose() => _client.DisposeAsync().AsTask().GetAwaiter().GetResult();

    private void Open()
    {
        using var blocks = _client.MapAsync(_prefix, 0, 1).AsTask().GetAwaiter().GetResult();
        if (blocks.Count != 1)
            throw new IOException($"{_name}: the silo did not lease a block of the benchmark: {blocks.Reason}.");
        using var tensor = blocks[0].AsTensor();
        if (tensor.numel() * sizeof(ushort) != _prefix.Namespace.Layout.BlockBytes)
            throw new IOException($"{_name}: a tensor has {tensor.numel()} elements.");
    }
}
