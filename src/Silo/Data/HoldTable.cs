using KvCache.Engine.Storage;

namespace KvCache.Silo.Data;

/// <summary>The leases that one connection's matches hold: bounded in time and arena memory, charged to its tenant, gone with the
/// connection.</summary>
internal sealed class HoldTable(long maxBytes) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Hold> _holds = [];
    private ulong _nextId = 1;
    private long _bytes;
    private bool _disposed;

    /// <summary>Who pays for the holds. Set once, when it is known whose the connection is.</summary>
    public TenantAccount? Account { get; set; }

    /// <summary>Bytes that may still be held.</summary>
    public long FreeBytes
    {
        get
        {
            lock (_lock)
                return Math.Min(maxBytes - _bytes, Account?.FreeToHold ?? 0);
        }
    }

    /// <summary>Keeps leases until a time. Returns their id; 0 when the connection has ended meanwhile, or its tenant holds too
    /// much.</summary>
    public ulong Add(List<BlockLease> leases, long untilTicks)
    {
        var bytes = leases.Sum(lease => lease.ArenaBytes);
        lock (_lock)
        {
            if (_disposed || !Account!.TryHold(bytes))
            {
                ReleaseAll(leases);
                return 0;
            }

            _holds.Add(_nextId, new Hold(leases, bytes, untilTicks));
            _bytes += bytes;
            return _nextId++;
        }
    }

    public bool Release(ulong id)
    {
        lock (_lock)
            return _holds.Remove(id, out var hold) && Drop(hold);
    }

    public void Expire(long nowTicks)
    {
        lock (_lock)
        {
            foreach (var (id, hold) in _holds)
            {
                if (hold.UntilTicks <= nowTicks && _holds.Remove(id))
                    Drop(hold);
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach (var hold in _holds.Values)
                Drop(hold);
            _holds.Clear();
        }
    }

    private bool Drop(Hold hold)
    {
        _bytes -= hold.Bytes;
        Account!.EndHold(hold.Bytes);
        ReleaseAll(hold.Leases);
        return true;
    }

    // Deepest first, so that the first blocks of the prefix end up as the most recently used ones.
    private static void ReleaseAll(List<BlockLease> leases)
    {
        for (var i = leases.Count - 1; i >= 0; i--)
            leases[i].Dispose();
    }

    private sealed record Hold(List<BlockLease> Leases, long Bytes, long UntilTicks);
}
