using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Data;

/// <summary>
/// Leases on blocks that other processes read in the mapped arena. They end when the process releases them or is gone, not when its
/// connection breaks: a process that lost its connection still reads.
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

    /// <summary>Takes over leases and keeps them for a process, charged to a tenant.</summary>
    /// <returns>Their id; 0, and they stay the caller's, when the tenant holds too much.</returns>
    public ulong Add(PeerProcess process, TenantAccount account, LeaseList leases)
    {
        if (!account.TryHold(leases.Bytes))
            return 0;
        lock (_lock)
        {
            var entry = new Entry(process, account, leases.HandOver());
            _leases.Add(++_lastId, entry);
            _bytes[process] = _bytes.GetValueOrDefault(process) + entry.Leases.Bytes;
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
        if ((_bytes[entry.Process] -= entry.Leases.Bytes) == 0)
            _bytes.Remove(entry.Process);
        entry.Account.EndHold(entry.Leases.Bytes);
        entry.Leases.Dispose();
    }

    private sealed record Entry(PeerProcess Process, TenantAccount Account, LeaseList Leases);
}
