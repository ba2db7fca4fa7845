using System.Text;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Checksums;
using KvCache.Engine.Events;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Prefixes;
using KvCache.Silo.LmCache;
using KvCache.Silo.Tiers.Payloads;

namespace KvCache.Chaos.Fuzz;

/// <summary>Writes the corpus: what our own clients say to a silo and hear from it, and what our own writers write.</summary>
internal static class CorpusRecorder
{
    /// <summary>Namespaces of the recorded frames: blocks of 512 bytes, and blocks with four layers.</summary>
    public static CacheNamespace Small { get; } = new() { Tenant = "default", Model = "fuzz", Layout = KvLayout.Opaque(512, 16) };

    private static readonly CacheNamespace Layered = new()
    {
        Tenant = "default",
        Model = "fuzz",
        Layout = KvLayout.Opaque([0, 256, 512, 768, 1024], 16),
        Fields = new Dictionary<string, string> { ["engine"] = "fuzz" },
    };

    /// <summary>A chain of blocks.</summary>
    public static KvPrefix PrefixOf(CacheNamespace ns, int number, int blocks) =>
        KvPrefix.Of(ns, [number, .. Enumerable.Range(0, (blocks * ns.Layout.TokensPerBlock) - 1)]);

    /// <summary>Writes all formats into folders of their names.</summary>
    public static async Task RecordAsync(InnerSilo silo, DirectoryInfo folder)
    {
        var address = System.Net.IPEndPoint.Parse(
            silo.Blocks.Endpoints.Single(endpoint => endpoint.StartsWith("tcp:", StringComparison.Ordinal))["tcp:".Length..]);
        var frames = new List<byte[]>();
        var answers = new List<byte[]>();
        await RecordAsync(address, "default", "", Client, frames, answers).ConfigureAwait(false);
        await RecordAsync(address, WireProtocol.PeerTenant, InnerSilo.ClusterSecret, Peer, frames, answers).ConfigureAwait(false);
        Write(folder, "frames", frames);
        Write(folder, "answers", answers);
        Write(folder, "namespace", [Small.Encoded.ToArray(), Layered.Encoded.ToArray()]);
        Write(folder, "deltas", [Deltas(1), Deltas(5)]);
        Write(folder, "events", Events());
        Write(folder, "payload", [Payload(Small, 1), Payload(Layered, 2)]);
        Write(folder, "descriptor", [new PrefixDescriptorSerializer().Serialize(
            new PrefixDescriptor { PinnedUntil = DateTimeOffset.UnixEpoch.AddDays(20_000) }).ToArray()]);
        Write(folder, "resp", [.. Commands().Select(words => RespTarget.Join([.. words.Select(Encoding.UTF8.GetBytes)]))]);
        Write(folder, "lm", [Lm(1, "model@1@0@aa", 256), Lm(1, "model@1@0@bb", 0), Lm(2, "model@1@0@aa", 0), Lm(3, "model@1@0@aa", 0), Lm(
            4, "", 0), Lm(5, "", 0)]);
        Write(folder, "zmtp-greeting", [ZmtpStart("NULL"), ZmtpStart("PLAIN")]);
        Write(folder, "zmtp", [Zmtp(0, [1, .. "kv@"u8]), Zmtp(0, [0, .. "kv@"u8]), Zmtp(4, [4, .. "PING"u8, 0, 10, 1, 2, 3]), Zmtp(1,
            "a part"u8), Zmtp(0, new byte[300])]);
        Write(folder, "http-namespace", [.. Texts(
            """{"model":"llama-3-8b","layout":{"tokensPerBlock":256,"layers":32,"kvHeads":8,"headDim":128,"dataType":"BFloat16"}}""",
            """
            {"model":"m","revision":"r","loraAdapter":"a","tensorParallelRank":1,"tensorParallelSize":2,"salt":"s",
            "numberFormat":"fp8_e4m3","fields":{"x":"y"},"layout":{"tokensPerBlock":16,"layerBytes":[512,256]}}
            """,
            $$"""{"encoding":"{{System.Buffers.Text.Base64Url.EncodeToString(Small.Encoded)}}"}""")]);
        var hash = PrefixOf(Small, 1, 1).Chain.Hashes[0];
        Write(folder, "http-match", [.. Texts(
            $$"""{"namespaces":["{{Small.Id}}"],"tokens":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}""",
            $$"""{"namespaces":["{{Small.Id}}"],"hashes":["{{hash}}","{{hash}}"]}""")]);
        Write(folder, "member", [.. Texts(
            """
            {"silo":"127.0.0.1:7410@123456","status":3,"name":"Silo_1","host":"h","role":"","proxyPort":0,"started":1790000000000,
            "alive":1790000000000,"suspicions":[{"by":"127.0.0.1:7411@5","at":1790000000000}]}
            """)]);
    }

    private static async Task RecordAsync(
        System.Net.IPEndPoint address, string tenant, string secret, Action<BlockConnection> talk, List<byte[]> frames,
            List<byte[]> answers)
    {
        using var tap = new WireTap(address);
        using (var connection = BlockConnection.Connect(SiloEndpoint.TryParse(tap.Address)!, tenant, secret))
            talk(connection);
        var (requests, replies) = await tap.EndAsync().ConfigureAwait(false);
        frames.AddRange(Frames(requests).Where(frame => (FrameType)frame[4] is not (FrameType.Hello or FrameType.Authenticate)));
        answers.AddRange(Frames(replies).Where(frame => (FrameType)frame[4] is not (FrameType.HelloReply or FrameType.AuthenticateReply)));
    }

    private static void Client(BlockConnection connection)
    {
        foreach (var ns in (CacheNamespace[])[Small, Layered])
        {
            var prefix = PrefixOf(ns, 1, 3);
            var hashes = prefix.Chain.Hashes;
            var bytes = new byte[ns.Layout.BlockBytes];
            ReadOnlyMemory<byte>[] blocks = [bytes, bytes, bytes];
            Memory<byte>[] memory = [new byte[bytes.Length], new byte[bytes.Length], new byte[bytes.Length]];
            var delivered = 0;
            connection.Put(ns, hashes, default, 0, blocks, 0, new StoreOptions(TimeSpan.FromMinutes(1), 7, 16, Replicas: 2));
            var (_, hold) = connection.Match([ns], hashes, TimeSpan.FromMilliseconds(5));
            connection.Match([ns, ns], hashes, TimeSpan.Zero);
            connection.Locate(ns, hashes);
            connection.Get(ns, hashes, ns.Layout.AllLayers, memory, 0, localOnly: true, ref delivered);
            connection.GetLayers(ns, hashes, ns.Layout.AllLayers, memory, localOnly: false, new Deaf());
            connection.GetLayers(ns, hashes, new LayerRange(0, 1),
                [.. memory.Select(block => block[..ns.Layout.RangeBytes(new LayerRange(0, 1))])], localOnly: true, new Deaf(),
                follow: true);
            connection.Pin(ns, hashes, TimeSpan.FromMilliseconds(5));
            connection.Pin(ns, hashes, TimeSpan.Zero);
            connection.Expire(ns, hashes, TimeSpan.FromMinutes(2));
            connection.Verify(ns, hashes[0], 1);
            connection.Release(hold);
            connection.Stat();
            connection.Delete(ns, PrefixOf(ns, 2, 1).Chain.Hashes);
            connection.Clear(new CacheNamespace { Tenant = "default", Model = "nothing", Layout = ns.Layout });
        }
    }

    private static void Peer(BlockConnection connection)
    {
        connection.ReadDeltas(1, TimeSpan.Zero, new IndexDelta[BlockConnection.MaxDeltas]);
        BlockKey[] keys = [.. PrefixOf(Small, 1, 2).Chain.Hashes.ToArray().Select(hash => new BlockKey(Small.Id, hash))];
        connection.GetForCopy(keys, static _ => null, static (_, _, _) => { });
    }

    private static IEnumerable<byte[]> Frames(byte[] stream)
    {
        for (var at = 0; at < stream.Length;)
        {
            var header = FrameHeader.Parse(stream.AsSpan(at), WireProtocol.MaxMetaBytes, long.MaxValue);
            var length = FrameHeader.Size + header.MetaLength + (int)header.PayloadLength;
            yield return stream.AsSpan(at, length).ToArray();
            at += length;
        }
    }

    private static byte[] Deltas(int count)
    {
        var hashes = PrefixOf(Small, 1, 5).Chain.Hashes.ToArray();
        var deltas = Enumerable.Range(0, count).Select(i => new IndexDelta((IndexOperation)(i + 1), new BlockKey(Small.Id, hashes[i]),
            1UL << (20 + i))).ToArray();
        var bytes = new byte[IndexDeltaCodec.BytesOf(count)];
        IndexDeltaCodec.Encode(deltas, bytes);
        return bytes;
    }

    private static List<byte[]> Events()
    {
        var hashes = PrefixOf(Small, 1, 2).Chain.Hashes;
        var all = new List<byte[]>();
        foreach (var format in (KvEventFormat[])[KvEventFormat.Arrays, KvEventFormat.Maps])
        {
            foreach (var integers in (bool[])[false, true])
            {
                var writer = new KvEventWriter(format, integers);
                writer.Stored(hashes[0], default, 16, "CPU");
                writer.Stored(hashes[1], hashes[0], 16, "CPU");
                writer.Removed(hashes[1], "CPU");
                writer.Cleared();
                all.Add(writer.Take(DateTimeOffset.UnixEpoch.AddDays(20_000)));
            }
        }

        return all;
    }

    private static byte[] Payload(CacheNamespace ns, int number)
    {
        var layout = new WireWriter();
        ns.Layout.WriteTo(layout);
        var head = new byte[PayloadFormat.HeadBytes(ns.Layout)];
        var header = new PayloadHeader(
            new BlockKey(ns.Id, PrefixOf(ns, number, 1).Chain.Hashes[0]), 5UL << 20, ns.Layout, new BlockLineage(default, 0, 1, 16), 2,
                1_790_000_000_000);
        PayloadFormat.Write(head, in header, new uint[ns.Layout.Layers], layout.Written, default);
        return [.. head, .. new byte[ns.Layout.BlockBytes]];
    }

    private static string[][] Commands() =>
    [
        ["PING"], ["ECHO", "hello"], ["HELLO", "3"], ["SELECT", "0"], ["CLIENT", "SETNAME", "fuzz"], ["COMMAND"], ["CONFIG", "GET",
            "maxmemory"],
        ["INFO"], ["SET", "k1", "value"], ["SET", "k1", "value", "PX", "60000", "NX"], ["SET", "k2", "value", "EX", "60", "GET"],
            ["SETEX", "k2", "60", "v"],
        ["PSETEX", "k3", "60000", "v"], ["SETNX", "k3", "v"], ["MSET", "k1", "a", "k2", "b"], ["GET", "k1"], ["MGET", "k1", "k2", "k9"],
            ["GETRANGE", "k1", "0", "-1"],
        ["STRLEN", "k1"], ["EXISTS", "k1", "k2"], ["TYPE", "k1"], ["DEL", "k9"], ["UNLINK", "k9", "k8"], ["TTL", "k1"], ["PTTL", "k2"],
            ["EXPIRE", "k1", "100", "GT"],
        ["PEXPIRE", "k1", "100000"], ["SCAN", "0", "MATCH", "k*", "COUNT", "100"], ["DBSIZE"], ["FLUSHDB"], ["GETDEL", "k9"], ["GETEX",
            "k1", "EX", "100"],
        ["MULTI"], ["EXEC"], ["INCR", "n"], ["TOUCH", "k1"], ["PERSIST", "k1"], ["OBJECT", "ENCODING", "k1"], ["CLUSTER", "INFO"],
    ];

    private static byte[] Lm(int command, string key, int length)
    {
        var request = new byte[LmCacheHeader.RequestBytes + length];
        int[] fields = [command, length, 2, 3, 1, 2, 32, 256, 1024];
        for (var i = 0; i < fields.Length; i++)
            System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(request.AsSpan(i * sizeof(int)), fields[i]);
        var text = request.AsSpan(fields.Length * sizeof(int), LmCacheHeader.RequestBytes - (fields.Length * sizeof(int)));
        text.Fill((byte)' ');
        Encoding.ASCII.GetBytes(key, text);
        return request;
    }

    // Greeting, then what comes before the first message.
    private static byte[] ZmtpStart(string mechanism)
    {
        var greeting = new byte[64];
        (greeting[0], greeting[9], greeting[10]) = (0xFF, 0x7F, 3);
        Encoding.ASCII.GetBytes(mechanism, greeting.AsSpan(12));
        byte[] type = [11, .. "Socket-Type"u8, 0, 0, 0, 3, .. "SUB"u8];
        return mechanism == "NULL"
            ? [.. greeting, .. Zmtp(4, [5, .. "READY"u8, .. type])]
            : [.. greeting, .. Zmtp(4, [5, .. "HELLO"u8, 4, .. "acme"u8, 6, .. "secret"u8]), .. Zmtp(4, [8, .. "INITIATE"u8, .. type])];
    }

    private static byte[] Zmtp(byte flags, ReadOnlySpan<byte> body)
    {
        if (body.Length <= byte.MaxValue)
            return [flags, (byte)body.Length, .. body];
        var length = new byte[sizeof(ulong)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(length, (ulong)body.Length);
        return [(byte)(flags | 2), .. length, .. body];
    }

    private static IEnumerable<byte[]> Texts(params string[] texts) => texts.Select(Encoding.UTF8.GetBytes);

    private static void Write(DirectoryInfo folder, string format, IReadOnlyList<byte[]> inputs)
    {
        var target = folder.CreateSubdirectory(format);
        var distinct = inputs.DistinctBy(Convert.ToHexString).ToList();
        for (var i = 0; i < distinct.Count; i++)
            File.WriteAllBytes(Path.Combine(target.FullName, $"{i:00}.bin"), distinct[i]);
    }

    // Nobody listens to the layers.
    private sealed class Deaf : ILayerSink
    {
        public void Promised(int blocks)
        {
        }

        public void Arrived(int layer, int blocks)
        {
        }
    }
}
