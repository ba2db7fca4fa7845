using Orleans;
using Orleans.Runtime;
using Orleans.Serialization.Invocation;

namespace KvCache.SimulationTests.Model;

/// <summary>A grain's surroundings, of which a prefix grain needs its own name only.</summary>
internal sealed class GrainIdentity(GrainId id) : IGrainContext
{
    public GrainId GrainId => id;

    public GrainReference GrainReference => throw new NotSupportedException();

    public object GrainInstance => throw new NotSupportedException();

    public ActivationId ActivationId => throw new NotSupportedException();

    public GrainAddress Address => throw new NotSupportedException();

    public IServiceProvider ActivationServices => throw new NotSupportedException();

    public IGrainLifecycle ObservableLifecycle => throw new NotSupportedException();

    public IWorkItemScheduler Scheduler => throw new NotSupportedException();

    public Task Deactivated => throw new NotSupportedException();

    public void SetComponent<TComponent>(TComponent? value)
        where TComponent : class => throw new NotSupportedException();

    object? ITargetHolder.GetComponent(Type componentType) => null;

    public object? GetTarget() => null;

    public void ReceiveMessage(object message) => throw new NotSupportedException();

    public void Activate(Dictionary<string, object>? requestContext, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public void Deactivate(DeactivationReason deactivationReason, CancellationToken cancellationToken) => throw new NotSupportedException();

    public void Rehydrate(IRehydrationContext context) => throw new NotSupportedException();

    public void Migrate(Dictionary<string, object>? requestContext, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public bool Equals(IGrainContext? other) => ReferenceEquals(this, other);
}
