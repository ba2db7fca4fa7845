namespace KvCache.Engine.Index;

/// <summary>
/// Who has which blocks. It is advice: the read is the truth, and a false hit is a miss.
/// </summary>
/// <remarks>
/// Whole prompts and whole batches cross this interface, and it is asynchronous, so that an index that is partitioned over
/// the cluster can stand behind it. <see cref="PrefixIndex"/>, a full replica, always completes at once and allocates nothing.
/// </remarks>
internal interface IPrefixIndex
{
    /// <summary>Finds the holders of a chain's blocks, from the first up to the first that nobody holds.</summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="hashes">Blocks of one chain, first block first.</param>
    /// <param name="holders">Receives a mask of holders for every block found; as long as <paramref name="hashes"/> or longer.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Number of blocks found.</returns>
    ValueTask<int> MatchAsync(
        NamespaceId ns, ReadOnlyMemory<BlockHash> hashes, Memory<ulong> holders, CancellationToken cancellationToken = default);

    /// <summary>Takes over what a silo said, in order.</summary>
    /// <param name="holder">Slot of the silo.</param>
    /// <param name="deltas">Its statements. Tombstones are not the index's concern and are passed over.</param>
    /// <param name="cancellationToken">Ends the wait; a part may have been taken over.</param>
    ValueTask ApplyAsync(int holder, ReadOnlyMemory<IndexDelta> deltas, CancellationToken cancellationToken = default);
}
