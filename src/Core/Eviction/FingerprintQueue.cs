namespace KvCache.Eviction;

/// <summary>
/// Fingerprints in the order in which they came, each once; the oldest can be dropped, and any can be taken out. Allocates nothing once
/// made.
/// </summary>
/// <param name="capacity">Most fingerprints.</param>
internal sealed class FingerprintQueue(int capacity)
{
    private readonly Dictionary<ulong, int> _slots = new(capacity);
    private readonly ulong[] _fingerprints = new ulong[capacity];
    private readonly SlotLinks _links = new(capacity);
    private SlotList _list = SlotList.Empty;
    private SlotList _free = SlotList.Empty;
    private int _used;

    public int Count => _list.Count;

    public bool Contains(ulong fingerprint) => _slots.ContainsKey(fingerprint);

    /// <summary>Adds one, for which the oldest goes if there is no room.</summary>
    public void Add(ulong fingerprint)
    {
        Take(fingerprint);
        if (_list.Count == capacity)
            DropOldest();
        var slot = _free.Newest;
        if (slot >= 0)
            _free.Remove(_links, slot);
        else
            slot = _used++;
        _fingerprints[slot] = fingerprint;
        _slots.Add(fingerprint, slot);
        _list.AddNewest(_links, slot);
    }

    /// <returns>Whether it was there.</returns>
    public bool Take(ulong fingerprint)
    {
        if (!_slots.Remove(fingerprint, out var slot))
            return false;
        _list.Remove(_links, slot);
        _free.AddNewest(_links, slot);
        return true;
    }

    public void DropOldest() => Take(_fingerprints[_list.Oldest]);
}
