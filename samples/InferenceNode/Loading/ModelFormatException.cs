namespace KvCache.InferenceNode;

/// <summary>A model cannot be loaded: a file is missing, broken, or of a kind that is not supported. The message says what was
/// expected.</summary>
public sealed class ModelFormatException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was wrong, and what was expected.</param>
    /// <param name="inner">The cause, if another exception is.</param>
    public ModelFormatException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
