namespace KvCache.Chaos.Fuzz;

/// <summary>A parser, or a session, that is given mutated input.</summary>
internal abstract class FuzzTarget(string name) : IDisposable
{
    /// <summary>Name in the table.</summary>
    public string Name => name;

    /// <summary>Its part of all inputs, relative to the others'.</summary>
    public virtual double Weight => 1;

    /// <summary>Feeds some inputs.</summary>
    /// <param name="mutator">Chooses and changes them.</param>
    /// <returns>How many were begun to be read: what follows the end of a session does not count.</returns>
    /// <exception cref="FuzzFailure">Something went wrong that must not.</exception>
    public abstract int Feed(Mutator mutator);

    /// <summary>Looks whether everything is as it should be when all inputs were fed.</summary>
    /// <returns>What is wrong; null when nothing is.</returns>
    public virtual string? Check() => null;

    public virtual void Dispose()
    {
    }

    /// <summary>One of the valid inputs, and another one.</summary>
    protected static (byte[] Input, byte[] Other) Pick(byte[][] corpus, Mutator mutator) =>
        (corpus[mutator.Dice.Next(corpus.Length)], corpus[mutator.Dice.Next(corpus.Length)]);
}

/// <summary>A mutated input did what no input may do.</summary>
internal sealed class FuzzFailure : Exception
{
    public FuzzFailure(string message, ReadOnlySpan<byte> input, Exception? inner = null)
        : base($"{message}{(inner is null ? "" : $": {inner.GetType(
            ).Name}: {inner.Message}")}\ninput: {Show(input)}\n{inner?.StackTrace}", inner)
    {
    }

    private static string Show(ReadOnlySpan<byte> input) =>
        Convert.ToHexStringLower(input[..Math.Min(input.Length, 512)]) + (input.Length > 512 ? $"… ({input.Length} bytes)" : "");
}
