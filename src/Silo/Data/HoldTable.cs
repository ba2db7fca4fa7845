using System.Diagnostics;
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

    /// <summary>Takes over leases and keeps them for a time.</summary>
    /// <param name="leases">The leases; they stay the caller's when the answer is 0.</param>
    /// <param name="until">The end, as a <see cref="Stopwatch"/>'s timestamp.</param>
    /// <returns>Their id; 0 when the connection has ended meanwhile, or its tenant holds too much.</returns>
    public ulong Add(LeaseList leases, long until)
    {
        lock (_lock)
        {
            if (_disposed || !Account!.TryHold(leases.Bytes))
                return 0;
            var hold = new Hold(leases.HandOver(), until);
            _bytes += hold.Leases.Bytes;
            _holds.Add(_nextId, hold);
            return _nextId++;
        }
    }

    public bool Release(ulong id)
    {
        lock (_lock)
            return _holds.Remove(id, out var hold) && Drop(hold);
    }

    public void Expire(long now)
    {
        lock (_lock)
        {
            foreach (var (id, hold) in _holds)
            {
                if (hold.Until <= now && _holds.Remove(id))
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
        _bytes -= hold.Leases.Bytes;
        Account!.EndHold(hold.Leases.Bytes);
        hold.Leases.Dispose();
        return true;
    }

    private sealed record Hold(LeaseList Leases, long Until);
}
