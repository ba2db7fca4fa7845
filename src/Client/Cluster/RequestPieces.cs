namespace KvCache.Client.Cluster;

/// <summary>Runs of blocks that fit into a request each.</summary>
internal static class RequestPieces
{
    /// <summary>
    /// Most blocks of a request that does something for each of them. Bounds what is allocated for it to what fits beside the large object
    /// heap, and its time to what a silo allows a frame and a caller waits for: 2,048 blocks of 64 KiB are 128 MiB, and as many grain
    /// calls.
    /// </summary>
    public const int MostMoved = 2048;

    /// <summary>Cuts a run of blocks.</summary>
    /// <param name="first">Index of the first block.</param>
    /// <param name="end">Index behind the last block.</param>
    /// <param name="most">Most blocks of a piece.</param>
    public static IEnumerable<(int First, int Count)> Of(int first, int end, int most)
    {
        for (; first < end; first += most)
            yield return (first, Math.Min(end - first, most));
    }
}
