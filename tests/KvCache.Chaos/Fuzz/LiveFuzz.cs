using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using KvCache.Chaos.Load;
using KvCache.Client;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.Silo.Hosting;

namespace KvCache.Chaos.Fuzz;

/// <summary>
/// Mutated input at the sockets of a silo in a process of its own. It lives on, logs no error, and a client beside gets right answers all
/// the time.
/// </summary>
internal static class LiveFuzz
{
    private const int Batch = 32;
    private const string Frames = "live frames";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    /// <summary>Runs.</summary>
    public static async Task<IReadOnlyList<FuzzRow>> RunAsync(long inputs, long seed, Action<string> tell,
        CancellationToken cancellationToken)
    {
        var errors = new ConcurrentQueue<string>();
        var settings = new SiloSettings(
            UseUnix: false,
            Settings: new Dictionary<string, string>
            {
                ["KvCache:Resp:Listen"] = "127.0.0.1:0",
                ["KvCache:LmCache:Listen"] = "127.0.0.1:0",
                ["KvCache:Events:Publish"] = $"127.0.0.1:{LoopbackPort.FindFree()}",
            });
        await using var silo = SiloChild.Start(settings, line =>
        {
            if (line.StartsWith("fail:", StringComparison.Ordinal) || line.StartsWith("crit:", StringComparison.Ordinal)
                || line.StartsWith("Unhandled", StringComparison.Ordinal))
                errors.Enqueue(line);
        });
        var ready = await silo.WaitUntilReadyAsync(ReadyFile.TryRead, TimeSpan.FromSeconds(60), cancellationToken).ConfigureAwait(false);
        using var over = new CancellationTokenSource();
        var beside = Task.Run(() => ReadBesideAsync(ready.Endpoints[0], seed, over.Token), CancellationToken.None);
        var rows = new List<FuzzRow>();
        (string Name, string Address, byte[][] Corpus)[] doors =
        [
            (Frames, ready.Endpoints.Single(endpoint => endpoint.StartsWith("tcp:", StringComparison.Ordinal))["tcp:".Length..],
                Corpus.Of("frames")),
            ("live resp", ready.Resp, Corpus.Of("resp")),
            ("live lm", ready.LmCache, Corpus.Of("lm")),
            ("live zmtp", settings.Settings!["KvCache:Events:Publish"], [.. Corpus.Of("zmtp-greeting"), .. Corpus.Of("zmtp")]),
        ];
        foreach (var (name, address, corpus) in doors)
        {
            var began = Stopwatch.GetTimestamp();
            var mutator = new Mutator(unchecked((int)seed * 31) + name.Length);
            long fed = 0;
            while (fed < inputs / doors.Length && !silo.Process.HasExited && !cancellationToken.IsCancellationRequested)
                fed += Feed(IPEndPoint.Parse(address), corpus, mutator, name == Frames);
            var failures = new List<string>();
            if (silo.Process.HasExited)
                failures.Add("The silo has ended.");
            while (errors.TryDequeue(out var line))
                failures.Add($"The silo logged: {line}");
            rows.Add(new FuzzRow(name, fed, Stopwatch.GetElapsedTime(began).TotalSeconds, failures));
            tell($"{name}: {fed} inputs in {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s, {failures.Count} failures");
        }

        await over.CancelAsync().ConfigureAwait(false);
        rows.Add(await beside.ConfigureAwait(false));
        return rows;
    }

    // One connection: a batch is sent, and what comes is read until the silo has ended it or has nothing more to say.
    private static int Feed(IPEndPoint address, byte[][] corpus, Mutator mutator, bool mayLogIn)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)
        {
            NoDelay = true,
            SendTimeout = (int)Patience.TotalMilliseconds,
            ReceiveTimeout = (int)Patience.TotalMilliseconds,
        };
        var sent = 0;
        try
        {
            socket.Connect(address);
            var buffer = new byte[64 << 10];
            if (mayLogIn && mutator.Dice.Next(5) > 0)
                LogIn(socket, buffer);
            for (; sent < Batch; sent++)
            {
                var valid = corpus[mutator.Dice.Next(corpus.Length)];
                socket.Send(mutator.Dice.Next(3) == 0 ? valid : mutator.Mutate(valid, corpus[mutator.Dice.Next(corpus.Length)]));
                while (socket.Available > 0 && socket.Receive(buffer) > 0)
                {
                }
            }

            socket.Shutdown(SocketShutdown.Send);
            while (socket.Receive(buffer) > 0)
            {
            }
        }
        catch (SocketException)
        {
            // The silo has ended it, or waits for the rest of something.
        }

        return Math.Max(1, sent);
    }

    private static void LogIn(Socket socket, byte[] buffer)
    {
        var nonce = new byte[WireProtocol.NonceSize];
        socket.Send(FrameTarget.Hello(nonce, "default"));
        var reply = FrameHeader.Size + sizeof(ushort) + WireProtocol.NonceSize;
        for (var got = 0; got < reply;)
        {
            var some = socket.Receive(buffer.AsSpan(got, reply - got));
            if (some == 0)
                return;
            got += some;
        }

        socket.Send(FrameTarget.Proof([], nonce, buffer.AsSpan(reply - WireProtocol.NonceSize, WireProtocol.NonceSize), "default"));
        foreach (var ns in Corpus.Of("namespace"))
            socket.Send(FrameTarget.Frame(FrameType.OpenNamespace, 3, writer => writer.Bytes(ns)));
    }

    private static async Task<FuzzRow> ReadBesideAsync(string endpoint, long seed, CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        var options = new KvCacheClientOptions { MatchTimeout = TimeSpan.FromSeconds(5), LoadTimeout = TimeSpan.FromSeconds(5) };
        options.Endpoints.Add(endpoint);
        await using var client = new KvCacheClient(options);
        var content = new SeededContent(seed);
        var prefix = CorpusRecorder.PrefixOf(CorpusRecorder.Small with { Model = "beside" }, 1, 8);
        var blocks = Enumerable.Range(0, prefix.BlockCount).Select(block =>
        {
            var bytes = new byte[prefix.Namespace.Layout.BlockBytes];
            content.Fill(bytes, 1, block, 1);
            return (ReadOnlyMemory<byte>)bytes;
        }).ToArray();
        var memory = blocks.Select(block => (Memory<byte>)new byte[block.Length]).ToArray();
        var failures = new List<string>();
        long reads = 0;
        while (!cancellationToken.IsCancellationRequested && failures.Count < 5)
        {
            var loaded = await client.LoadAsync(prefix, 0, memory, cancellationToken: CancellationToken.None).ConfigureAwait(false);
            if (loaded.Reason is not (MissReason.None or MissReason.Absent))
                failures.Add($"A load beside failed: {loaded.Reason}.");
            for (var block = 0; block < loaded.Blocks; block++, reads++)
            {
                if (content.VersionOf(memory[block].Span, 1, block) != 1)
                    failures.Add($"Block {block} of the client beside has wrong bytes.");
            }

            if (loaded.Blocks < prefix.BlockCount)
                await client.StoreAsync(prefix, 0, blocks, cancellationToken: CancellationToken.None).ConfigureAwait(false);
            await Task.Delay(5, CancellationToken.None).ConfigureAwait(false);
        }

        return new FuzzRow($"({reads} right reads beside)", 0, Stopwatch.GetElapsedTime(began).TotalSeconds, failures);
    }
}
