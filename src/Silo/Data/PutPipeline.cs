using System.Net.Sockets;
using System.Runtime.InteropServices;
using KvCache.Grains;
using KvCache.Storage;
using KvCache.Wire;

namespace KvCache.Silo;

/// <summary>
/// Receives the blocks of a put. Memory and grants of the next blocks are prepared while bytes arrive: the control plane hides
/// behind the data.
/// </summary>
/// <remarks>
/// A grain grants a write, and revokes it in the store when it must not become visible any more; a write that was granted is
/// published by the store alone, without another turn of the grain. Blocks are published in the order of their chain, so that a block
/// finds its parent in the store. At most <see cref="DataPlaneOptions.PutWindow"/> blocks are prepared ahead, and as many wait for
/// their grant.
/// </remarks>
internal sealed class PutPipeline(BlockServer server, FrameSocket socket) : IDisposable
{
    private readonly CancellationTokenSource _ended = new();

    /// <summary>Receives the payload of one put frame.</summary>
    /// <exception cref="SocketException">The connection broke; nothing that was not complete becomes visible.</exception>
    public PutOutcome[] Receive(CacheNamespace ns, BlockHash[] hashes, BlockLineage lineage, TimeSpan? timeToLive)
    {
        var items = new Item[hashes.Length];
        var seals = new Task<PutOutcome>[hashes.Length];
        int prepared = 0, received = 0;
        var window = server.Options.PutWindow;
        try
        {
            for (; received < items.Length; received++)
            {
                for (; prepared < items.Length && prepared < received + window; prepared++)
                    items[prepared] = Prepare(ns, hashes, prepared, lineage, timeToLive);
                var item = items[received];
                var intact = ReceiveBlock(ns.Layout, item);
                seals[received] = FinishAsync(item, intact, received == 0 ? Task.CompletedTask : seals[received - 1]);
                if (received >= window)
                    seals[received - window].GetAwaiter().GetResult();
            }
        }
        catch
        {
            // The block that was being received, and those behind it.
            for (var i = received; i < prepared; i++)
                FinishAsync(items[i], intact: false, Task.CompletedTask).GetAwaiter().GetResult();
            throw;
        }

        return Array.ConvertAll(seals, seal => seal.GetAwaiter().GetResult());
    }

    public void Dispose()
    {
        _ended.Cancel();
        _ended.Dispose();
    }

    private Item Prepare(CacheNamespace ns, BlockHash[] hashes, int index, BlockLineage lineage, TimeSpan? timeToLive)
    {
        var key = new BlockKey(ns.Id, hashes[index]);
        if (server.Store.Contains(key))
            return new Item { Refusal = PutOutcome.AlreadyStored };
        var parent = index == 0 ? lineage.Parent : hashes[index - 1];
        if (server.Store.TryReserve(key, ns.Layout, lineage with { Parent = parent, Depth = lineage.Depth + index }) is not { } write)
            return new Item { Refusal = Arena.RoundUp(ns.Layout.BlockBytes) > server.Store.Arena.Capacity ? PutOutcome.TooLarge : PutOutcome.NoMemory };
        var begin = server.Grains.GetPrefix(key).BeginAsync(new WriteIntent { Generation = write.Generation }, _ended.Token);
        return new Item { Write = write, Begin = begin.AsTask(), TimeToLive = timeToLive };
    }

    private bool ReceiveBlock(KvLayout layout, Item item)
    {
        var trailer = layout.Layers * sizeof(uint);
        if (item.Write is null || (item.Begin!.IsCompletedSuccessfully && item.Begin.Result.Outcome != BeginOutcome.Accepted))
        {
            socket.Drain(layout.BlockBytes + trailer);
            return false;
        }

        socket.ReceiveLayers(item.Write.Bytes, layout, layout.AllLayers, item.Write.Checksums);
        Span<uint> announced = stackalloc uint[Math.Min(layout.Layers, 256)];
        for (var layer = 0; layer < layout.Layers; layer += announced.Length)
        {
            var piece = announced[..Math.Min(announced.Length, layout.Layers - layer)];
            socket.ReceiveExact(MemoryMarshal.AsBytes(piece));
            if (!piece.SequenceEqual(item.Write.Checksums.Slice(layer, piece.Length)))
            {
                socket.Drain(trailer - ((layer + piece.Length) * sizeof(uint)));
                return false;
            }
        }

        return true;
    }

    private async Task<PutOutcome> FinishAsync(Item item, bool intact, Task before)
    {
        if (item.Write is null)
            return item.Refusal;
        using (item.Write)
        {
            try
            {
                var grant = await item.Begin!;
                if (grant.Outcome != BeginOutcome.Accepted)
                {
                    return grant.Outcome switch
                    {
                        BeginOutcome.AlreadyStored => PutOutcome.AlreadyStored,
                        BeginOutcome.BeingWritten => PutOutcome.BeingWritten,
                        _ => PutOutcome.NoMemory,
                    };
                }

                if (!intact)
                    return PutOutcome.Corrupt;
                await before;
                return server.Store.Publish(item.Write.Key, item.Write.Generation, item.TimeToLive) switch
                {
                    PublishOutcome.Published => PutOutcome.Stored,
                    PublishOutcome.AlreadyStored => PutOutcome.AlreadyStored,
                    _ => PutOutcome.Revoked,
                };
            }
            catch (Exception e)
            {
                // A grain that cannot be reached (silo stopping, call timed out): the block is not stored, the put goes on.
                server.LogPutFailed(e, item.Write.Key.Namespace, item.Write.Key.Hash);
                return PutOutcome.Failed;
            }
        }
    }

    private sealed class Item
    {
        public BlockWrite? Write { get; init; }

        public TimeSpan? TimeToLive { get; init; }

        public Task<WriteGrant>? Begin { get; init; }

        /// <summary>Why nothing was reserved; only meaningful without a write.</summary>
        public PutOutcome Refusal { get; init; }
    }
}
