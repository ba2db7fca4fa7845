using System.Collections;
using KvCache.Client.SharedMemory;

namespace KvCache.Client;

/// <summary>Blocks of a prefix in the memory of a silo of this machine, kept there until this object is disposed.</summary>
/// <remarks>Nothing is copied and nothing is verified (<see cref="LeasedBlock.IsIntact"/> does). Views and tensors of the blocks end with
/// this object.</remarks>
public sealed class MappedBlocks : IReadOnlyList<LeasedBlock>, IDisposable
{
    private readonly List<LeasedBlock> _blocks;
    private SiloMemory? _memory;

    internal MappedBlocks(SiloMemory? memory, List<LeasedBlock> blocks, MissReason reason)
    {
        _memory = memory;
        _blocks = blocks;
        Reason = reason;
    }

    /// <summary>Why there are not more; <see cref="MissReason.None"/> when all are there.</summary>
    public MissReason Reason { get; }

    /// <inheritdoc/>
    public int Count => _blocks.Count;

    /// <inheritdoc/>
    public LeasedBlock this[int index]
    {
        get
        {
            ObjectDisposedException.ThrowIf(_memory is null && _blocks.Count > 0, this);
            return _blocks[index];
        }
    }

    /// <inheritdoc/>
    public IEnumerator<LeasedBlock> GetEnumerator() => _blocks.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Ends the leases.</summary>
    public void Dispose() => Interlocked.Exchange(ref _memory, null)?.Return(_blocks);
}
