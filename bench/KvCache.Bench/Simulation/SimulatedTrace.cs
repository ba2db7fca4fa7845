using KvCache.Benchmarks;

namespace KvCache.Bench.Simulation;

/// <summary>A trace as the simulator wants it: ids are dense, so that arrays are indexed by them.</summary>
internal sealed class SimulatedTrace
{
    public required IReadOnlyList<SimulatedRequest> Requests { get; init; }

    /// <summary>Different blocks.</summary>
    public required int Blocks { get; init; }

    /// <summary>Blocks of all requests.</summary>
    public required long Accesses { get; init; }

    public static SimulatedTrace Of(IEnumerable<TraceRequest> requests)
    {
        var ids = new Dictionary<int, int>();
        var list = new List<SimulatedRequest>();
        long accesses = 0;
        foreach (var request in requests)
        {
            var chain = new int[request.HashIds.Count];
            for (var i = 0; i < chain.Length; i++)
            {
                if (!ids.TryGetValue(request.HashIds[i], out chain[i]))
                    ids.Add(request.HashIds[i], chain[i] = ids.Count);
            }

            accesses += chain.Length;
            list.Add(new SimulatedRequest(request.Timestamp, request.InputLength, chain, request.BlockTokens, request.Hint));
        }

        return new SimulatedTrace { Requests = list, Blocks = ids.Count, Accesses = accesses };
    }
}

/// <summary>One request with the dense ids of its blocks.</summary>
internal sealed record SimulatedRequest(long Timestamp, int Tokens, int[] Chain, int TokensPerBlock, CacheHint? Hint);
