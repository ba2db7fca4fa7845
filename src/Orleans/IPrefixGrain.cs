using Orleans.Concurrency;

namespace KvCache.Orleans;

/// <summary>
/// The virtual actor of one prefix: it decides who may write the block of a prefix hash, when it becomes visible, how long it
/// is kept, and whether it is gone. Its key is <c>{namespace id}/{prefix hash}</c> in hexadecimal
/// (<see cref="BlockKey.ToGrainKey"/>).
/// </summary>
/// <remarks>
/// Bulk bytes do not travel in calls: a data-plane connection writes into memory of the silo's block store, asks the grain with the id
/// of the write whether it may, and publishes the block in the store, where the grain can revoke it until then. The grain can also be used
/// alone, with pieces of at most
/// <c>KvCache:Prefixes:MaxInlineBytes</c>; that is meant for small blocks, tools and tests.
/// </remarks>
[Alias("KvCache.IPrefixGrain")]
public interface IPrefixGrain : IGrainWithStringKey
{
    /// <summary>Asks to write the block. At most one writer is accepted at a time.</summary>
    /// <param name="intent">What is to be written.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    [Alias("Begin")]
    ValueTask<WriteGrant> BeginAsync(WriteIntent intent, CancellationToken cancellationToken = default);

    /// <summary>
    /// Writes a piece of a block that this grain reserved itself (an intent with a namespace). Pieces come in order; one that
    /// was sent before may come again.
    /// </summary>
    /// <param name="generation">Id from the grant.</param>
    /// <param name="offset">Where the piece begins in the block, in bytes.</param>
    /// <param name="piece">The bytes.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>False when the write was revoked.</returns>
    /// <exception cref="ArgumentException">The piece is too long, leaves a gap, or does not lie in the block.</exception>
    [Alias("Write")]
    ValueTask<bool> WriteAsync(ulong generation, int offset, Immutable<byte[]> piece, CancellationToken cancellationToken = default);

    /// <summary>Makes a block visible that was written with <see cref="WriteAsync"/>.</summary>
    /// <param name="generation">Id of the write.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    [Alias("Seal")]
    ValueTask<SealOutcome> SealAsync(ulong generation, CancellationToken cancellationToken = default);

    /// <summary>Ends a write without a result. Another writer may begin at once.</summary>
    /// <param name="generation">Id of the write.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    [Alias("Abandon")]
    ValueTask AbandonAsync(ulong generation, CancellationToken cancellationToken = default);

    /// <summary>What is known of the block, or null when it is not stored. Does not count as use.</summary>
    [Alias("Describe")]
    ValueTask<BlockDescription?> DescribeAsync(CancellationToken cancellationToken = default);

    /// <summary>Reads a run of layers: inline when it is small, else a ticket for the data plane. Counts as use.</summary>
    /// <param name="firstLayer">First layer, from 0.</param>
    /// <param name="layerCount">Number of layers.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>Null when the block is not stored.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    [Alias("ReadLayers")]
    ValueTask<LayerReading?> ReadLayersAsync(int firstLayer, int layerCount, CancellationToken cancellationToken = default);

    /// <summary>Keeps the block from eviction; zero or less ends the pin.</summary>
    /// <returns>False when the block is not stored or pins would take more than their share of the arena.</returns>
    [Alias("Pin")]
    ValueTask<bool> PinAsync(TimeSpan duration, CancellationToken cancellationToken = default);

    /// <summary>Sets the life of the block from now on.</summary>
    /// <returns>False when the block is not stored.</returns>
    /// <exception cref="TimeoutException">A silo, or Redis, that may have the block did not confirm; there it may keep its life.</exception>
    [Alias("SetTimeToLive")]
    ValueTask<bool> SetTimeToLiveAsync(TimeSpan timeToLive, CancellationToken cancellationToken = default);

    /// <summary>Deletes the block, on every silo and in Redis, and revokes a write that is running.</summary>
    /// <returns>False when nothing was stored.</returns>
    /// <exception cref="TimeoutException">A silo, or Redis, that may have the block did not confirm; the deletion goes on.</exception>
    [Alias("Delete")]
    ValueTask<bool> DeleteAsync(CancellationToken cancellationToken = default);
}
