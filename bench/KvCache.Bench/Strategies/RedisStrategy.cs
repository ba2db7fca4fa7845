using System.Globalization;
using System.Net;
using KvCache.Bench.Redis;
using KvCache.Benchmarks.Strategies;
using KvCache.Processes;

namespace KvCache.Bench.Strategies;

/// <summary>
/// All nodes keep blocks in a Redis that evicts the least recently used, by a C-class client: it asks for all blocks in one pipeline, then
/// gets those up to the first that is missing, in another.
/// </summary>
internal sealed class RedisStrategy : ICacheStrategy
{
    private readonly RedisChild _server;
    private readonly RespClient[] _clients;

    public RedisStrategy(string program, int nodes, ByteSize total, string transport)
    {
        Name = $"redis.{transport}";
        var memory = total.Bytes.ToString(CultureInfo.InvariantCulture);
        _server = ComparedRedis.Start(program, "--maxmemory", memory, "--maxmemory-policy", "allkeys-lru");
        EndPoint address = transport == "tcp" ? _server.Tcp : _server.Unix;
        _clients = [.. Enumerable.Range(0, nodes).Select(_ => RespClient.Connect(address, default))];
    }

    public string Name { get; }

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations)
    {
        var client = _clients[node];
        foreach (ref readonly var hash in prompt.Hashes)
            client.Send(new RespCommand("EXISTS", 1).Add(BlockHash.BytesOf(in hash)).ToArray());
        var (found, missing) = (0, false);
        for (var i = 0; i < prompt.BlockCount; i++)
        {
            missing |= client.ReceiveNumber() == 0;
            found += missing ? 0 : 1;
        }

        foreach (ref readonly var hash in prompt.Hashes[..found])
            client.Send(new RespCommand("GET", 1).Add(BlockHash.BytesOf(in hash)).ToArray());
        var loaded = found;
        for (var i = 0; i < found; i++)
        {
            if (client.ReceiveValue(destinations[i].Span) < 0)
                loaded = Math.Min(loaded, i); // evicted since it was asked for
        }

        return loaded;
    }

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        for (var i = first; i < prompt.BlockCount; i++)
            _clients[node].SendSet(BlockHash.BytesOf(in prompt.Hashes[i]), sources[i].Span);
        for (var i = first; i < prompt.BlockCount; i++)
            _clients[node].ReceiveOk();
    }

    public void Dispose()
    {
        foreach (var client in _clients)
            client.Dispose();
        _server.Dispose();
    }
}
