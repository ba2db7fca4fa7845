using KvCache.Bench.Redis;

namespace KvCache.Bench.Lookup;

/// <summary>The same blocks as keys of a Redis: shorter names than the silo's own tier uses, which is kind to Redis.</summary>
internal sealed class RedisIndex : IDisposable
{
    private const int Pipelined = 16;
    private static readonly byte[] Prefix = "kvcache-bench:"u8.ToArray();
    private static readonly byte[] Value = new byte[16];
    private readonly RespClient _client;
    private readonly LookupChains _chains;

    /// <summary>Stores them.</summary>
    public RedisIndex(RespClient client, LookupChains chains)
    {
        (_client, _chains) = (client, chains);
        ForEachChain("MSET", (command, key) => command.Add(key).Add(Value), perKey: 2, client.ReceiveOk);
    }

    /// <summary>One command that asks for all blocks of a prompt.</summary>
    public static byte[] Exists(ReadOnlySpan<BlockHash> hashes) => Command("EXISTS", hashes, (command, key) => command.Add(key), perKey: 1);

    /// <summary>Deletes them: the server of somebody else is left as it was.</summary>
    public void Dispose()
    {
        ForEachChain("UNLINK", (command, key) => command.Add(key), perKey: 1, () => _client.ReceiveNumber());
        _client.Dispose();
    }

    private static byte[] Command(string name, ReadOnlySpan<BlockHash> hashes, Action<RespCommand, byte[]> add, int perKey)
    {
        var command = new RespCommand(name, hashes.Length * perKey);
        var key = new byte[Prefix.Length + BlockHash.Size];
        Prefix.CopyTo(key, 0);
        foreach (ref readonly var hash in hashes)
        {
            hash.CopyTo(key.AsSpan(Prefix.Length));
            add(command, key);
        }

        return command.ToArray();
    }

    private void ForEachChain(string name, Action<RespCommand, byte[]> add, int perKey, Action receive)
    {
        for (var chain = 0; chain < _chains.Count + Pipelined; chain++)
        {
            if (chain >= Pipelined)
                receive();
            if (chain < _chains.Count)
                _client.Send(Command(name, _chains.OfCall(chain), add, perKey));
        }
    }
}
