namespace KvCache;

/// <summary>
/// Where one node would get the tokens of a prompt from, each from the cheapest tier that has it: its GPU, the silo beside it, another
/// silo, Redis, and the rest by computing.
/// </summary>
/// <param name="Gpu">Tokens in the engine's own memory.</param>
/// <param name="Memory">Tokens from the silo beside it.</param>
/// <param name="Cluster">Tokens from other silos.</param>
/// <param name="Redis">Tokens from Redis.</param>
/// <param name="Compute">Tokens to compute.</param>
/// <param name="Score">
/// Share of the prompt's prefill that is saved: <c>1 − (Memory·w₁ + Cluster·w₂ + Redis·w₃ + Compute) ÷ tokens</c> with the weights of
/// <see cref="RouteWeights"/>. 1: everything is in the GPU; 0: everything is computed. The difference of two nodes' scores, times the
/// prefill time of the prompt, is the time
/// that a router gains by the better one, and so what it may trade against the nodes' queues.
/// </param>
public readonly record struct RoutePlan(int Gpu, int Memory, int Cluster, int Redis, int Compute, double Score)
{
    /// <summary>Plans a prompt on one node.</summary>
    /// <param name="tokens">Tokens of the prompt, at least 1.</param>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    /// <param name="holders">Holders of the prompt's blocks, from the first one up to the first that nobody has; bit 63 is Redis.</param>
    /// <param name="self">Bit of the silo beside the node; 0 for none.</param>
    /// <param name="gpuTokens">Tokens at the front of the prompt that the node's GPU has.</param>
    /// <param name="weights">Costs of the tiers.</param>
    public static RoutePlan Create(
        int tokens, int tokensPerBlock, ReadOnlySpan<ulong> holders, ulong self, int gpuTokens, RouteWeights weights)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 1);
        var gpu = Math.Min(gpuTokens, tokens);
        int memory = 0, cluster = 0, redis = 0;
        var end = 0;
        foreach (var mask in holders)
        {
            var start = end;
            end = Math.Min(tokens, end + tokensPerBlock);
            var wanted = end - Math.Max(start, gpu); // an engine's blocks are smaller: a part of ours may be there already
            if (wanted <= 0)
                continue;
            if ((mask & self) != 0)
                memory += wanted;
            else if ((mask & ~BlockRun.Redis) != 0)
                cluster += wanted;
            else
                redis += wanted;
        }

        var compute = tokens - gpu - memory - cluster - redis;
        return new RoutePlan(
            gpu, memory, cluster, redis, compute,
            1 - (((memory * weights.Memory) + (cluster * weights.Cluster) + (redis * weights.Redis) + compute) / tokens));
    }

    /// <summary>Tokens at the front of the prompt whose blocks all have one of some holders.</summary>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    /// <param name="holders">Holders of the prompt's blocks.</param>
    /// <param name="among">Bits of the holders that count.</param>
    public static int FrontTokens(int tokensPerBlock, ReadOnlySpan<ulong> holders, ulong among)
    {
        var blocks = 0;
        while (blocks < holders.Length && (holders[blocks] & among) != 0)
            blocks++;
        return blocks * tokensPerBlock;
    }
}
