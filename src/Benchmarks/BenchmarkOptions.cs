namespace KvCache.Benchmarks;

/// <summary>What a <see cref="KvCacheBenchmark"/> compares, and what things cost.</summary>
public sealed record BenchmarkOptions
{
    /// <summary>Inference nodes; requests go round. Default 4.</summary>
    public int Nodes { get; init; } = 4;

    /// <summary>KV bytes of a block of 512 tokens. Default 64 KiB: small, so that a run takes little memory; the model's own for real
    /// figures.</summary>
    public int BlockBytes { get; init; } = 64 << 10;

    /// <summary>Memory of caches in processes, all nodes together; in front of a silo, a quarter of it. Default 188 MiB: 3,000
    /// blocks.</summary>
    public ByteSize Memory { get; init; } = ByteSize.MiB(188);

    /// <summary>Requests before counting begins, so that caches are full. Default 0.</summary>
    public int Before { get; init; }

    /// <summary>Tokens that a node computes in a second: this is modelled, not measured. Default 10,000.</summary>
    public double PrefillTokensPerSecond { get; init; } = 10_000;

    /// <summary>Price of a node's hour. Default 2.</summary>
    public double PricePerHour { get; init; } = 2;

    /// <summary>Price of a GiB of a cache's memory for an hour. Default 0.005.</summary>
    public double PricePerGibHour { get; init; } = 0.005;

    /// <summary>Data-plane addresses of silos, <c>tcp:host:port</c> or <c>unix:/path</c>; none: no rows of silos. Their memory is their own
    /// setting; for a fair comparison it is <see cref="Memory"/>.</summary>
    public IList<string> Silos { get; } = [];
}
