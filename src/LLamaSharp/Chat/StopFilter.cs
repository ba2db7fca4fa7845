namespace KvCache.LLamaSharp.Chat;

/// <summary>Lets text through up to the first of some texts, and keeps back what may be the beginning of one.</summary>
internal sealed class StopFilter(IReadOnlyList<string> stops)
{
    private string _held = "";

    /// <summary>Whether one of the texts has come; nothing is let through any more.</summary>
    public bool IsStopped { get; private set; }

    /// <returns>What may be shown now.</returns>
    public string Add(string text)
    {
        if (IsStopped)
            return "";
        _held += text;
        var stop = stops.Where(stop => stop.Length > 0).Select(stop => _held.IndexOf(stop, StringComparison.Ordinal))
            .Where(at => at >= 0).DefaultIfEmpty(-1).Min();
        if (stop >= 0)
        {
            IsStopped = true;
            return Take(stop);
        }

        var kept = Enumerable.Range(1, _held.Length).Reverse()
            .FirstOrDefault(length =>
                stops.Any(stop => stop.Length > length && stop.StartsWith(_held[^length..], StringComparison.Ordinal)));
        return Take(_held.Length - kept);
    }

    /// <returns>What was kept back, now that nothing follows.</returns>
    public string End() => IsStopped ? "" : Take(_held.Length);

    private string Take(int length)
    {
        var text = _held[..length];
        _held = _held[length..];
        return text;
    }
}
