using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Data;

/// <summary>
/// Leases on blocks that other processes read in the mapped arena. They end when the process releases them or is gone, not when its
/// connection
/// breaks: a process that lost its connection still reads.
/// </summary>
/// <param name="maxBytes">Most arena bytes that one process may keep.</param>
internal sealed class MappedLeases(long maxBytes)
{
    /// <summary>Marks these ids among those of holds.</summary>
    public const ulong IdBit = 1UL << 63;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Entry> _leases = [];
    private readonly Dictionary<PeerProcess, long> _bytes = [];
    private ulong _lastId = IdBit;

    /// <summary>Bytes that a process may still lease.</summary>
    public long FreeBytes(PeerProcess process)
    {
        lock (_lock)
            return maxBytes - _bytes.GetValueOrDefault(process);
    }

    /// <summary>Keeps leases for a process, charged to a tenant, and returns their id; 0, and they are released, when the tenant holds too
    /// much.</summary>
    public ulong Add(PeerProcess process, TenantAccount account, List<BlockLease> leases)
    {
        var entry = new Entry(process, account, leases, leases.Sum(lease => lease.ArenaBytes));
        if (!account.TryHold(entry.Bytes))
        {
            leases.ForEach(lease => lease.Dispose());
            return 0;
        }

        lock (_lock)
        {
            _leases.Add(++_lastId, entry);
            _bytes[process] = _bytes.GetValueOrDefault(process) + entry.Bytes;
            return _lastId;
        }
    }

    /// <summary>Ends leases of a process; false when it has none of that id.</summary>
    public bool Release(PeerProcess process, ulong id)
    {
        lock (_lock)
        {
            if (!_leases.TryGetValue(id, out var entry) || entry.Process != process)
                return false;
            Drop(id, entry);
            return true;
        }
    }

    /// <summary>Ends the leases of processes that are gone.</summary>
    public void Sweep()
    {
        PeerProcess[] processes;
        lock (_lock)
            processes = [.. _bytes.Keys];
        foreach (var process in processes)
        {
            if (process.IsAlive)
                continue;
            lock (_lock)
            {
                foreach (var (id, entry) in _leases.Where(lease => lease.Value.Process == process).ToArray())
                    Drop(id, entry);
            }
        }
    }

    /// <summary>Ends all leases: the silo stops, and its arena goes with it.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            foreach (var (id, entry) in _leases.ToArray())
                Drop(id, entry);
        }
    }

    private void Drop(ulong id, Entry entry)
    {
        _leases.Remove(id);
        if ((_bytes[entry.Process] -= entry.Bytes) == 0)
            _bytes.Remove(entry.Process);
        for (var i = entry.Leases.Count - 1; i >= 0; i--)
            entry.Leases[i].Dispose();
        entry.Account.EndHold(entry.Bytes);
    }

    private sealed record Entry(PeerProcess Process, TenantAccount Account, List<BlockLease> Leases, long Bytes);
}
