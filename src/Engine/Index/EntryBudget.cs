using System.Collections.Concurrent;

namespace KvCache.Engine.Index;

/// <summary>For whom the index keeps an entry.</summary>
internal enum EntryKind
{
    /// <summary>This silo has the block: the arena bounds how many there are.</summary>
    Own,

    /// <summary>Other silos have it.</summary>
    Silos,

    /// <summary>Only Redis has it.</summary>
    Redis,
}

/// <summary>
/// Counts the entries of all shards, each kind against its own bound: what others have never takes the place of what this silo has, and
/// what Redis is said to have never that of either. Within a bound every tenant has its part; what it does not use is lent, and comes back
/// when it is wanted.
/// </summary>
/// <param name="maxSilos">Most entries of blocks that other silos have.</param>
/// <param name="maxRedis">Most entries of blocks that only Redis has.</param>
/// <param name="partOf">A tenant's part of each bound, 0 to 1, together at most 1; null where nobody has one.</param>
internal sealed class EntryBudget(int maxSilos, int maxRedis, Func<TenantId, double>? partOf = null)
{
    // Keys of a Redis that others can write to name any number of tenants; from here on they have one account together. An account stays,
    // so that an entry is returned to the one that it was taken from.
    private const int MaxAccounts = 4096;

    // So far a bound may be passed while the shards that something comes into have no entry of anybody above his part: one in each shard.
    private const int SlackShare = 64, MinSlack = 256;

    private readonly int[] _taken = new int[3];
    private readonly ConcurrentDictionary<TenantId, Account> _accounts = [];
    private readonly Account _others = new();
    private long _refused, _forgotten;

    /// <summary>Entries of all kinds.</summary>
    public int Taken => Of(EntryKind.Own) + Of(EntryKind.Silos) + Of(EntryKind.Redis);

    /// <summary>Blocks of other silos that there was no room for.</summary>
    public long Refused => Volatile.Read(ref _refused);

    /// <summary>Blocks that were left out, or forgotten for others.</summary>
    public long Forgotten => Volatile.Read(ref _forgotten);

    public int Of(EntryKind kind) => Volatile.Read(ref _taken[(int)kind]);

    /// <summary>There are more entries than there should be: somebody who has a shard's lock is to forget one.</summary>
    public bool IsOver(EntryKind kind) => Of(kind) > BoundOf(kind);

    /// <summary>There are so many that whose it is does not matter.</summary>
    public bool IsFarOver(EntryKind kind) =>
        BoundOf(kind) is var bound && Of(kind) > bound + (long)Math.Max(bound / SlackShare, MinSlack);

    /// <summary>Whether a tenant has more than its part, so that its entries go for others'.</summary>
    public bool IsAbovePart(EntryKind kind, TenantId tenant) =>
        partOf is null || Volatile.Read(ref AccountOf(tenant).Taken[(int)kind]) > partOf(tenant) * BoundOf(kind);

    /// <summary>Takes an entry. One of Redis is always taken, and one of other silos by who has less than its part; another entry then goes
    /// (<see cref="IsOver"/>).</summary>
    public bool TryTake(EntryKind kind, TenantId tenant)
    {
        Interlocked.Increment(ref AccountOf(tenant).Taken[(int)kind]);
        if (Interlocked.Increment(ref _taken[(int)kind]) <= maxSilos || kind != EntryKind.Silos || !IsAbovePart(kind, tenant))
            return true;
        Return(kind, tenant);
        Interlocked.Increment(ref _refused);
        return false;
    }

    public void Return(EntryKind kind, TenantId tenant)
    {
        Interlocked.Decrement(ref AccountOf(tenant).Taken[(int)kind]);
        Interlocked.Decrement(ref _taken[(int)kind]);
    }

    public void Forget() => Interlocked.Increment(ref _forgotten);

    /// <summary>The same entry is of another kind now, whether there is room or not: it was there.</summary>
    public void Move(EntryKind from, EntryKind to, TenantId tenant)
    {
        Return(from, tenant);
        Interlocked.Increment(ref AccountOf(tenant).Taken[(int)to]);
        Interlocked.Increment(ref _taken[(int)to]);
    }

    private int BoundOf(EntryKind kind) => kind switch
    {
        EntryKind.Silos => maxSilos,
        EntryKind.Redis => maxRedis,
        _ => int.MaxValue,
    };

    private Account AccountOf(TenantId tenant)
    {
        if (_accounts.TryGetValue(tenant, out var account))
            return account;
        lock (_others)
        {
            if (_accounts.TryGetValue(tenant, out account))
                return account;
            return _accounts.Count >= MaxAccounts ? _others : _accounts[tenant] = new Account();
        }
    }

    private sealed class Account
    {
        public int[] Taken { get; } = new int[3];
    }
}
