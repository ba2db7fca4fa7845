using System.Buffers;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>
/// Chooses tokens of one sequence. It draws one random number per token that is not greedy, so the choice depends on
/// how many were drawn before: one sampler per sequence, used by one thread.
/// </summary>
public sealed class TokenSampler
{
    private readonly SamplingOptions _options;
    private readonly Random _random;

    /// <summary>Starts the random numbers at the options' seed.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public TokenSampler(SamplingOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
        _random = new Random(options.Seed); // a seeded Random keeps its sequence across processes and .NET versions
    }

    /// <summary>Chooses the next token; among equal logits the lowest id counts as the most likely.</summary>
    /// <param name="logits">float32, shape <c>[vocabulary]</c>, any device; not disposed.</param>
    /// <returns>Token id.</returns>
    /// <exception cref="ArgumentException">The tensor has another shape or element type, or no finite number in it.</exception>
    public int Next(torch.Tensor logits)
    {
        ArgumentNullException.ThrowIfNull(logits);
        if (logits.dtype != torch.ScalarType.Float32 || logits.dim() != 1)
            throw new ArgumentException(
                $"Expected float32 logits of shape [vocabulary], got {logits.dtype} [{string.Join(", ", logits.shape)}].", nameof(logits));

        var values = ArrayPool<float>.Shared.Rent(checked((int)logits.shape[0]));
        try
        {
            var span = values.AsSpan(0, (int)logits.shape[0]);
            using (torch.NewDisposeScope())
                logits.cpu().contiguous().data<float>().CopyTo(span);
            return Next(span);
        }
        finally
        {
            ArrayPool<float>.Shared.Return(values);
        }
    }

    /// <summary>Chooses the next token; among equal logits the lowest id counts as the most likely.</summary>
    /// <param name="logits">One number per token of the vocabulary. NaN is never chosen.</param>
    /// <returns>Token id.</returns>
    /// <exception cref="ArgumentException">There is no finite number among the logits.</exception>
    public int Next(ReadOnlySpan<float> logits)
    {
        var best = MostLikely(logits);
        return _options.Temperature == 0 ? best : Draw(logits, logits[best]);
    }

    private static int MostLikely(ReadOnlySpan<float> logits)
    {
        var best = -1;
        for (var i = 0; i < logits.Length; i++)
        {
            if (float.IsFinite(logits[i]) && (best < 0 || logits[i] > logits[best]))
                best = i;
        }

        return best >= 0
            ? best
            : throw new ArgumentException(
                $"None of {logits.Length} logits is a finite number: the model or the KV it was given is broken.", nameof(logits));
    }

    private int Draw(ReadOnlySpan<float> logits, float highest)
    {
        var tokens = ArrayPool<int>.Shared.Rent(logits.Length);
        var weights = ArrayPool<double>.Shared.Rent(logits.Length);
        try
        {
            // Softmax without its division, negated. In double and one by one, so that every process gets the same sum.
            var total = 0.0;
            for (var i = 0; i < logits.Length; i++)
            {
                tokens[i] = i;
                weights[i] = float.IsFinite(logits[i]) ? -Math.Exp(((double)logits[i] - highest) / _options.Temperature) : 0;
                total -= weights[i];
            }

            var kept = total;
            var count = logits.Length;
            if (_options.TopP < 1)
            {
                Array.Sort(weights, tokens, 0, logits.Length); // the most likely first, as weights are negated
                kept = 0;
                count = 0;
                while (count < logits.Length && (count == 0 || kept < _options.TopP * total))
                    kept -= weights[count++];
            }

            var left = _random.NextDouble() * kept;
            for (var i = 0; i < count; i++)
            {
                left += weights[i];
                if (left < 0)
                    return tokens[i];
            }

            return tokens[count - 1]; // reached by rounding only
        }
        finally
        {
            ArrayPool<int>.Shared.Return(tokens);
            ArrayPool<double>.Shared.Return(weights);
        }
    }
}
