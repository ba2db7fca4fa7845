using System.Diagnostics;
using KvCache.Engine.Storage;

namespace KvCache.Silo.Data;

/// <summary>
/// The leases that one connection's matches hold: bounded in time and arena memory, charged to its tenant, gone with the connection. A get
/// on any connection of the tenant may use them (<see cref="Holds"/>).
/// </summary>
internal sealed class HoldTable(Holds holds, long maxBytes) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly HashSet<Hold> _own = [];
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
            var hold = new Hold(this, leases.HandOver(), until);
            _bytes += hold.Leases.Bytes;
            _own.Add(hold);
            return hold.Id = holds.Add(hold);
        }
    }

    /// <summary>Ends a hold of this connection.</summary>
    /// <returns>Whether there was one.</returns>
    public bool Release(ulong id) => holds.Find(id, Account) is { } hold && hold.Table == this && TryEnd(hold);

    /// <summary>Ends the holds whose time is over.</summary>
    public void Expire(long now)
    {
        lock (_lock)
        {
            foreach (var hold in _own)
            {
                if (hold.Until <= now)
                    End(hold);
            }
        }
    }

    /// <summary>Begins to read the leases of a hold, which stay until <see cref="EndUse"/> even when it ends meanwhile.</summary>
    /// <returns>False when it has ended.</returns>
    public bool TryUse(Hold hold)
    {
        lock (_lock)
        {
            if (!_own.Contains(hold))
                return false;
            hold.Users++;
            return true;
        }
    }

    /// <summary>Nothing is read any more.</summary>
    /// <param name="hold">The hold.</param>
    /// <param name="end">Whether it ends, too.</param>
    public void EndUse(Hold hold, bool end)
    {
        lock (_lock)
        {
            hold.Users--;
            if (!end || !End(hold))
                DropUnused(hold);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach (var hold in _own)
                End(hold);
        }
    }

    private bool TryEnd(Hold hold)
    {
        lock (_lock)
            return End(hold);
    }

    private bool End(Hold hold)
    {
        if (!_own.Remove(hold))
            return false;
        holds.Remove(hold.Id);
        DropUnused(hold);
        return true;
    }

    private void DropUnused(Hold hold)
    {
        if (hold.Users > 0 || _own.Contains(hold))
            return;
        _bytes -= hold.Leases.Bytes;
        Account!.EndHold(hold.Leases.Bytes);
        hold.Leases.Dispose();
    }
}
