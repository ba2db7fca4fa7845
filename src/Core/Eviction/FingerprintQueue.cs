namespace KvCache.Eviction;

/// <summary>
/// Fingerprints in the order in which they came, each once; the oldest can be dropped, and any can be taken out. Allocates nothing once
/// there are as many as there can be.
/// </summary>
internal sealed class FingerprintQueue
{
    private readonly Dictionary<ulong, int> _slots = [];
    private readonly SlotLinks _links = new(0);
    private ulong[] _fingerprints = [];
    private SlotList _list = SlotList.Empty;
    private SlotList _free = SlotList.Empty;
    private int _used;

    /// <summary>Most fingerprints.</summary>
    public int Capacity
    {
        get;
        set
        {
            field = value;
            while (Count > value)
                DropOldest();
        }
    }

    public int Count => _list.Count;

    public bool Contains(ulong fingerprint) => _slots.ContainsKey(fingerprint);

    /// <summary>Adds one, for which the oldest goes if there is no room.</summary>
    public void Add(ulong fingerprint)
    {
        Take(fingerprint);
        if (_list.Count == Capacity)
            DropOldest();
        var slot = _free.Newest;
        if (slot >= 0)
            _free.Remove(_links, slot);
        else
            slot = NewSlot();
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

    private int NewSlot()
    {
        if (_used == _fingerprints.Length)
        {
            var size = Math.Max(64, 2 * _used);
            Array.Resize(ref _fingerprints, size);
            _links.Grow(size);
        }

        return _used++;
    }
}
