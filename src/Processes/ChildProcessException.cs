namespace KvCache.Processes;

/// <summary>A program that was started did not do what it was started for.</summary>
/// <param name="message">What it was to do, and its last words.</param>
internal sealed class ChildProcessException(string message) : Exception(message);
