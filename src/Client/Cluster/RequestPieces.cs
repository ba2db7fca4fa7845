namespace KvCache.Client.Cluster;

/// <summary>Runs of blocks that fit into a request each.</summary>
internal static class RequestPieces
{
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
