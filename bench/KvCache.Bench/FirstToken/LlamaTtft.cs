using System.Diagnostics;
using System.Globalization;
using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Processes;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.Chat.Gguf;
using KvCache.LLamaSharp;
using LLama;
using LLama.Common;
using LLama.Native;

namespace KvCache.Bench.FirstToken;

/// <summary>
/// The time to the first token in llama.cpp: prompts of several lengths, computed once each, and then begun with the KV that a silo has
/// over a Unix socket.
/// </summary>
/// <param name="context">What the command line said.</param>
/// <param name="lengths">Cached tokens, multiples of a block's.</param>
/// <param name="more">New tokens behind them.</param>
/// <param name="threads">Threads that compute.</param>
internal sealed class LlamaTtft(ScenarioContext context, IReadOnlyList<int> lengths, int more, int threads)
{
    private const int TokensPerBlock = TtftScenario.TokensPerBlock;
    private const int Batch = 512; // llama.cpp's default
    private static readonly LLamaSeqId Sequence = (LLamaSeqId)0;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Measures.</summary>
    /// <param name="name">Name of the report.</param>
    /// <param name="model">A GGUF; null for one of 181 million parameters with random weights.</param>
    /// <param name="cancellation">Interrupts between two runs.</param>
    public BenchReport Run(string name, string? model, CancellationToken cancellation)
    {
        using var owned = new Owned();
        NativeLogConfig.llama_log_set((_, _) => { });
        var path = model ?? Path.Combine(owned.Add(new TemporaryFolder()).Path, "random.gguf");
        if (model is null)
        {
            context.Log("Writing a model with random weights");
            context.Log(string.Create(CultureInfo.InvariantCulture, $"{RandomModel.Write(path, new LlamaShape()) / 1e6:0} M parameters"));
        }

        var parameters = new ModelParams(path)
        {
            ContextSize = (uint)(lengths.Max() + more),
            BatchSize = Batch,
            SeqMax = 2,
            KVUnified = true,
            Threads = threads,
            BatchThreads = threads,
        };
        var weights = owned.Add(LLamaWeights.LoadFromFile(parameters));
        var llama = owned.Add(weights.CreateContext(parameters));
        var silo = owned.Add(BenchSilo.Start(new ByteSize(TtftScenario.LeastArena), cancellation));
        var client = silo.Client("unix", Patience);
        var rows = new List<BenchRow>();
        var ratios = new List<RatioRow>();
        try
        {
            using var prefixes = LLamaPrefixCache.Create(client, llama, new LLamaPrefixCacheOptions { BlockTokens = TokensPerBlock });
            foreach (var cached in lengths)
                Measure(llama, prefixes, cached, rows, ratios, cancellation);
        }
        finally
        {
            Wait(client.DisposeAsync());
        }

        return new BenchReport(name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    private void Measure(
        LLamaContext llama, LLamaPrefixCache prefixes, int cached, List<BenchRow> rows, List<RatioRow> ratios,
        CancellationToken cancellation)
    {
        // A different text for each length: what a shorter one has stored would be a part of a longer one's prefix.
        var random = new Random(cached);
        var tokens = Enumerable.Range(0, cached + more).Select(_ => (LLamaToken)random.Next(32, 127)).ToArray();
        var began = Stopwatch.GetTimestamp();
        var expected = Compute(llama, tokens, 0, cached);
        var cold = Stopwatch.GetElapsedTime(began).TotalMilliseconds;
        var stored = Wait(prefixes.StoreAsync(tokens, 0, cancellationToken: cancellation));
        if (stored.Stored != cached / TokensPerBlock)
            throw new InvalidOperationException($"The silo took {stored.Stored} of {cached / TokensPerBlock} blocks: {stored.Reason}.");
        var (warm, load, import, decode) = (new List<double>(), new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round < context.Rounds; round++)
        {
            cancellation.ThrowIfCancellationRequested();
            llama.NativeHandle.MemorySequenceRemove(Sequence, -1, -1);
            began = Stopwatch.GetTimestamp();
            var restored = Wait(prefixes.RestoreAsync(tokens, 0, cancellationToken: cancellation));
            var asked = Stopwatch.GetTimestamp();
            var logits = Compute(llama, tokens, restored.Tokens, restored.Tokens);
            warm.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            decode.Add(Stopwatch.GetElapsedTime(asked).TotalMilliseconds);
            load.Add((restored.MatchTime + restored.LoadTime).TotalMilliseconds);
            import.Add(restored.ImportTime.TotalMilliseconds);
            if (restored.Tokens != cached)
                throw new InvalidOperationException($"{restored.Tokens} of {cached} tokens came from the silo: {restored.Reason}.");
            if (!logits.AsSpan().SequenceEqual(expected))
                throw new InvalidOperationException($"Behind {cached} restored tokens, logits differ from those of the cold run.");
        }

        llama.NativeHandle.MemorySequenceRemove(Sequence, -1, -1);
        context.Log(string.Create(
            CultureInfo.InvariantCulture,
            $"{cached} + {more} tokens: cold {cold:0} ms, warm {Summary.Of(warm).Median:0.0} ms; equal logits"));
        var shape = new RowShape("ms", prefixes.Namespace.Layout.BlockBytes, 1, cached / TokensPerBlock);
        rows.Add(shape.Row("llama.cold", [cold]));
        rows.Add(shape.Row("llama.warm", warm));
        rows.Add(shape.Row("llama.warm.load", load));
        rows.Add(shape.Row("llama.warm.import", import));
        rows.Add(shape.Row("llama.warm.decode", decode));
        ratios.Add(shape.Ratio("llama.warm/llama.cold", warm, [.. warm.Select(_ => cold)]));
    }

    // In batches, with a cut where what is cached ends: logits are bit for bit those of a run that was cut at the same place.
    private static float[] Compute(LLamaContext llama, LLamaToken[] tokens, int from, int cut)
    {
        var last = 0;
        for (var at = from; at < tokens.Length; at += last)
        {
            last = Math.Min(Batch, (at < cut ? cut : tokens.Length) - at);
            var batch = new LLamaBatch();
            for (var i = 0; i < last; i++)
                batch.Add(tokens[at + i], at + i, Sequence, at + i == tokens.Length - 1);
            if (llama.NativeHandle.Decode(batch) is var result && result != DecodeResult.Ok)
                throw new InvalidOperationException($"llama.cpp could not compute tokens {at} to {at + last}: {result}.");
        }

        return llama.NativeHandle.GetLogitsIth(last - 1).ToArray();
    }

    private static T Wait<T>(ValueTask<T> call) => call.AsTask().GetAwaiter().GetResult();

    private static void Wait(ValueTask call) => call.AsTask().GetAwaiter().GetResult();

    private sealed class TemporaryFolder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("kvcache-bench-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
