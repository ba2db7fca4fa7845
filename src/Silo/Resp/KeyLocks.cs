using System.Numerics;

namespace KvCache.Silo.Resp;

/// <summary>
/// Locks of one tenant's keys, so that what reads and then writes, or writes several keys, is one step to this silo's other clients. A lock
/// stands for many keys; several are taken in one order.
/// </summary>
internal sealed class KeyLocks
{
    private readonly Lock[] _locks = [.. Enumerable.Range(0, 64).Select(_ => new Lock())];

    /// <summary>The locks of a key, as a set.</summary>
    public static ulong Of(BlockKey key) => 1UL << (key.GetHashCode() & 63);

    /// <summary>Takes locks; those that the thread has already are taken once more.</summary>
    public Held Hold(ulong set)
    {
        for (var rest = set; rest != 0; rest &= rest - 1)
            _locks[BitOperations.TrailingZeroCount(rest)].Enter();
        return new Held(_locks, set);
    }

    /// <summary>Waits until nobody has a lock.</summary>
    public void Pass(ulong set) => Hold(set).Dispose();

    /// <summary>Locks that are held until it is disposed.</summary>
    public readonly ref struct Held(Lock[] locks, ulong set)
    {
        public void Dispose()
        {
            for (var rest = set; rest != 0; rest &= rest - 1)
                locks[BitOperations.TrailingZeroCount(rest)].Exit();
        }
    }
}
