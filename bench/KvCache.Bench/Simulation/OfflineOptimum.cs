namespace KvCache.Bench.Simulation;

/// <summary>
/// MIN (Belady 1966) for prefix chains: after each request, of all that is resident or was just seen, those blocks stay whose next
/// request comes first; of equals the shallower ones. A block's next use is never before that of the block before it, so that what stays
/// is closed under prefixes.
/// </summary>
internal static class OfflineOptimum
{
    /// <returns>Blocks found over the whole trace.</returns>
    public static long Hits(SimulatedTrace trace, int capacity, CancellationToken cancellation)
    {
        var next = NextUses(trace);
        var resident = new int[trace.Blocks]; // next use + 1 of a resident block, else 0
        var queue = new PriorityQueue<int, (int, int)>(); // the farthest first; entries may be stale
        var count = 0;
        long hits = 0;
        for (var r = 0; r < trace.Requests.Count; r++)
        {
            cancellation.ThrowIfCancellationRequested();
            var chain = trace.Requests[r].Chain;
            var found = 0;
            while (found < chain.Length && resident[chain[found]] != 0)
                found++;
            hits += found;
            for (var i = 0; i < chain.Length; i++)
            {
                var use = next[r][i];
                if (resident[chain[i]] != 0)
                    count--;
                resident[chain[i]] = use == int.MaxValue ? 0 : use + 1;
                if (use == int.MaxValue)
                    continue;
                count++;
                queue.Enqueue(chain[i], (-use, -i));
            }

            while (count > capacity)
            {
                queue.TryDequeue(out var block, out var key);
                if (resident[block] != 1 - key.Item1)
                    continue;
                resident[block] = 0;
                count--;
            }
        }

        return hits;
    }

    private static int[][] NextUses(SimulatedTrace trace)
    {
        var last = new int[trace.Blocks];
        Array.Fill(last, int.MaxValue);
        var next = new int[trace.Requests.Count][];
        for (var r = next.Length - 1; r >= 0; r--)
        {
            var chain = trace.Requests[r].Chain;
            next[r] = new int[chain.Length];
            for (var i = 0; i < chain.Length; i++)
            {
                next[r][i] = last[chain[i]];
                last[chain[i]] = r;
            }
        }

        return next;
    }
}
