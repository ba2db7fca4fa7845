using System.Collections;

namespace KvCache.Engine.Storage;

/// <summary>
/// Leases that belong together, owned from the moment at which they are taken: whatever goes wrong before they are handed over, they are
/// released. Not thread-safe.
/// </summary>
internal sealed class LeaseList : IReadOnlyCollection<BlockLease>, IDisposable
{
    private readonly List<BlockLease> _leases = [];

    /// <summary>Arena bytes that they keep from reuse.</summary>
    public long Bytes { get; private set; }

    /// <inheritdoc/>
    public int Count => _leases.Count;

    /// <summary>One of them.</summary>
    public BlockLease this[int index] => _leases[index];

    /// <summary>Takes over a lease. It is released also when this fails.</summary>
    public void Add(BlockLease lease)
    {
        try
        {
            _leases.Add(lease);
            Bytes += lease.ArenaBytes;
        }
        catch
        {
            lease.Dispose();
            throw;
        }
    }

    /// <summary>Takes over a lease, which is released when all together would keep more than a number of arena bytes.</summary>
    /// <returns>Whether it is kept.</returns>
    public bool TryAdd(BlockLease lease, long mostBytes)
    {
        if (Bytes + lease.ArenaBytes > mostBytes)
        {
            lease.Dispose();
            return false;
        }

        Add(lease);
        return true;
    }

    /// <summary>Hands all of them over: this list has none any more, and the result is the caller's to dispose.</summary>
    public LeaseList HandOver()
    {
        var heir = new LeaseList();
        heir._leases.AddRange(_leases);
        heir.Bytes = Bytes;
        _leases.Clear();
        Bytes = 0;
        return heir;
    }

    /// <summary>Releases them, the deepest first, so that the first blocks of the prefix end up as the most recently used ones.</summary>
    public void Dispose()
    {
        for (var i = _leases.Count - 1; i >= 0; i--)
            _leases[i].Dispose();
        _leases.Clear();
        Bytes = 0;
    }

    /// <summary>The leases, first block first.</summary>
    public List<BlockLease>.Enumerator GetEnumerator() => _leases.GetEnumerator();

    IEnumerator<BlockLease> IEnumerable<BlockLease>.GetEnumerator() => _leases.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => _leases.GetEnumerator();
}
