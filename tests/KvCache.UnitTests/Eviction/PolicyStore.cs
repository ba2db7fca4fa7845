using KvCache.Eviction;
using Xunit;

namespace KvCache.UnitTests.Eviction;

/// <summary>
/// A store without bytes that checks after every step what it asks of a policy: victims are leaves that nobody holds, it is never fuller
/// than its capacity, and what is resident can be reached.
/// </summary>
internal sealed class PolicyStore(IEvictionPolicy policy, int capacity)
{
    private readonly Dictionary<string, int> _slots = [];
    private readonly string?[] _paths = new string?[capacity];
    private readonly Stack<int> _free = new(Enumerable.Range(0, capacity).Reverse());
    private readonly Dictionary<int, int> _held = [];
    private readonly Dictionary<string, ChainUse> _uses = []; // by the path that was served
    private long _requests;

    public IReadOnlyCollection<string> Resident => _slots.Keys;

    /// <summary>The victims so far, in their order.</summary>
    public List<string> Victims { get; } = [];

    /// <summary>Serves a chain: each letter of it is a block, named by all letters up to it.</summary>
    /// <returns>Blocks found.</returns>
    public int Serve(string chain, long now, AnswerEnd end = AnswerEnd.Unknown, int tenant = 0)
    {
        var paths = Enumerable.Range(1, chain.Length).Select(length => chain[..length]).ToArray();
        var fingerprints = paths.Select(Fingerprint).ToArray();
        var hits = paths.TakeWhile(_slots.ContainsKey).Count();
        var last = hits == 0 ? -1 : _slots[paths[hits - 1]];
        var use = new ChainUse
        {
            Request = ++_requests,
            Now = now,
            Tokens = chain.Length * 512,
            TokensPerBlock = 512,
            End = end,
            Tenant = tenant,
        };
        policy.Look(fingerprints, hits, last, ref use);
        foreach (var path in paths[..hits])
            policy.Touch(_slots[path], use);
        for (var length = 1; length <= chain.Length; length++)
            _uses[chain[..length]] = use;
        var stored = hits;
        if (last >= 0)
            Hold(last);
        for (; stored < chain.Length; stored++)
        {
            var slot = TryStore(paths[stored], new ArrivingBlock(fingerprints[stored], last, Partial: false), use);
            if (slot < 0)
                break;
            Hold(slot);
            if (last >= 0)
                Release(last);
            last = slot;
        }

        foreach (var fingerprint in fingerprints[stored..])
            policy.Pass(new ArrivingBlock(fingerprint, -1, Partial: false), use);
        if (last >= 0)
            Release(last);
        Assert.All(_slots.Keys, path => Assert.True(path.Length == 1 || _slots.ContainsKey(path[..^1])));
        Assert.InRange(_slots.Count, 0, capacity);
        return hits;
    }

    public void Tell(string path, AnswerEnd end) => policy.Tell(_slots[path], _uses[path] with { End = end });

    public void Hold(string path) => Hold(_slots[path]);

    public void Release(string path) => Release(_slots[path]);

    /// <summary>Deletes a block and all behind it.</summary>
    public void Delete(string path, long now)
    {
        var all = _slots.Keys.Where(key => key.StartsWith(path, StringComparison.Ordinal)).OrderByDescending(key => key.Length);
        foreach (var below in all.ToList())
            Remove(_slots[below], evicted: false, now);
    }

    public static ulong Fingerprint(string path)
    {
        var hash = 14695981039346656037UL;
        foreach (var letter in path)
            hash = (hash ^ letter) * 1099511628211UL;
        hash = (hash ^ (hash >> 32)) * 0xD6E8FEB86659FD93;
        return hash ^ (hash >> 32);
    }

    private int TryStore(string path, in ArrivingBlock block, in ChainUse use)
    {
        if (_free.Count == 0)
        {
            if (policy.ChooseVictim(block, use, out var victim) != VictimChoice.Found)
                return -1;
            var gone = _paths[victim.Slot];
            Assert.NotNull(gone);
            Assert.DoesNotContain(_slots.Keys, key => key.Length == gone.Length + 1 && key.StartsWith(gone, StringComparison.Ordinal));
            Assert.DoesNotContain(victim.Slot, _held);
            Victims.Add(gone);
            Remove(victim.Slot, evicted: true, use.Now);
        }

        var slot = _free.Pop();
        _slots.Add(path, slot);
        _paths[slot] = path;
        policy.Insert(slot, block, use);
        return slot;
    }

    private void Remove(int slot, bool evicted, long now)
    {
        policy.Remove(slot, evicted, now);
        _slots.Remove(_paths[slot]!);
        _paths[slot] = null;
        _free.Push(slot);
    }

    private void Hold(int slot)
    {
        _held[slot] = _held.GetValueOrDefault(slot) + 1;
        policy.Hold(slot);
    }

    private void Release(int slot)
    {
        if (--_held[slot] == 0)
            _held.Remove(slot);
        policy.Release(slot);
    }
}
