using System.Collections.Concurrent;
using System.Security.Cryptography;
using KvCache.Engine.Storage;

namespace KvCache.Silo.Data;

/// <summary>What a match has found here, for a while.</summary>
/// <param name="table">The connection's, whose lock guards it.</param>
/// <param name="leases">The blocks: rank by rank, in the order of their chain.</param>
/// <param name="until">Its end, as a timestamp.</param>
internal sealed class Hold(HoldTable table, LeaseList leases, long until)
{
    public HoldTable Table => table;

    public LeaseList Leases => leases;

    public long Until => until;

    public ulong Id { get; set; }

    /// <summary>Gets that read its leases now. When none does and the hold has ended, the leases are released.</summary>
    public int Users { get; set; }
}

/// <summary>The holds of all connections. Their ids are random: nobody names one that he was not told of. Thread-safe.</summary>
internal sealed class Holds
{
    private readonly ConcurrentDictionary<ulong, Hold> _holds = [];

    /// <summary>Adds a hold.</summary>
    /// <returns>Its id.</returns>
    public ulong Add(Hold hold)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        while (true)
        {
            RandomNumberGenerator.Fill(bytes);
            var id = BitConverter.ToUInt64(bytes) & ~MappedLeases.IdBit;
            if (id != 0 && _holds.TryAdd(id, hold))
                return id;
        }
    }

    /// <summary>Finds a hold of a tenant.</summary>
    public Hold? Find(ulong id, TenantAccount? account) =>
        _holds.TryGetValue(id, out var hold) && hold.Table.Account == account ? hold : null;

    /// <summary>Forgets a hold.</summary>
    public void Remove(ulong id) => _holds.TryRemove(id, out _);

    /// <summary>Begins to read what a hold of a tenant keeps.</summary>
    /// <returns>Null when there is none of this id (any more). Dispose it.</returns>
    public HoldUse? Use(ulong id, TenantAccount account, bool ends) =>
        id != 0 && Find(id, account) is { } hold && hold.Table.TryUse(hold) ? new HoldUse(hold, ends) : null;
}

/// <summary>A get that reads the leases of a hold: without looking for its blocks, or leasing them, once more.</summary>
/// <param name="hold">The hold.</param>
/// <param name="ends">Whether the hold ends with the get.</param>
internal sealed class HoldUse(Hold hold, bool ends) : IDisposable
{
    private int _next;
    private int _steps = 2 * hold.Leases.Count; // of looking for a block that does not come next

    /// <summary>Bytes that the hold keeps.</summary>
    public long Bytes => hold.Leases.Bytes;

    /// <summary>The lease of a block; null when it is not held. Blocks of one rank in the order of their chain.</summary>
    public BlockLease? Find(BlockKey key)
    {
        for (var i = _next; i < hold.Leases.Count && (i == _next || _steps-- > 0); i++)
        {
            if (hold.Leases[i].Key != key)
                continue;
            _next = i + 1;
            return hold.Leases[i];
        }

        return null;
    }

    public void Dispose() => hold.Table.EndUse(hold, ends);
}
