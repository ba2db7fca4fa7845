namespace KvCache.Silo.Security;

/// <summary>
/// Whether the silos that this one knocks at let it in. Orleans tries on for ever; a silo that starts with a wrong secret has to say so and
/// end.
/// </summary>
internal sealed class ClusterEntry
{
    private readonly TaskCompletionSource<string> _refused = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _letIn;

    /// <summary>Whether a silo has let this one in: then another that does not is the one with the wrong secret.</summary>
    public bool LetIn => _letIn;

    /// <summary>Ends with the reason of the first silo that does not let this one in.</summary>
    public Task<string> Refused => _refused.Task;

    public void Enter() => _letIn = true;

    public void Refuse(string reason) => _refused.TrySetResult(reason);
}

/// <summary>The cluster does not let this silo in.</summary>
internal sealed class ClusterRefusedException(string message) : IOException(message);
