using System.Reflection;
using KvCache.Grains;
using KvCache.Orleans;
using KvCache.Orleans.Access;
using KvCache.QuickStart;
using KvCache.Testing;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace KvCache.ProcessTests.Security;

/// <summary>What an Orleans client can try that has got through the gateway, with its own ticket, another one, or none.</summary>
internal static class Attacker
{
    private const string MarkKey = "kvcache";

    /// <summary>Sends something else than the tenant's ticket along with every call.</summary>
    /// <param name="mark">What; null for nothing.</param>
    public static Action<IClientBuilder> Forging(Func<object?> mark) =>
        client => client.Services.AddSingleton<IOutgoingGrainCallFilter>(new ForgedMark(mark));

    /// <summary>Tries every door behind the gateway.</summary>
    /// <param name="client">The attacker.</param>
    /// <param name="victim">A stored block of another tenant.</param>
    /// <param name="ns">Its namespace.</param>
    /// <returns>What was tried, and the exception that refused it or null.</returns>
    public static async Task<IReadOnlyList<(string Attack, Exception? Refusal)>> TryEverythingAsync(
        OrleansClient client, BlockKey victim, CacheNamespace ns)
    {
        var grain = client.Grains.GetPrefix(victim);
        var absent = client.Grains.GetPrefix(
            new BlockKey(victim.Namespace, new BlockHash(System.Security.Cryptography.RandomNumberGenerator.GetBytes(BlockHash.Size))));
        List<(string, Func<Task>)> attacks =
        [
            ("describe", () => grain.DescribeAsync().AsTask()),
            ("read", () => grain.ReadLayersAsync(0, 1).AsTask()),
            ("pin", () => grain.PinAsync(TimeSpan.FromDays(3650)).AsTask()),
            ("set life", () => grain.SetTimeToLiveAsync(TimeSpan.FromSeconds(1)).AsTask()),
            ("delete", () => grain.DeleteAsync().AsTask()),
            ("begin", () => grain.BeginAsync(new WriteIntent { Namespace = ns.Encoded.ToArray(), Replace = true }).AsTask()),
            ("write", () => grain.WriteAsync(1, 0, new Immutable<byte[]>([1])).AsTask()),
            ("seal", () => grain.SealAsync(1).AsTask()),
            ("activate an absent one", () => absent.DescribeAsync().AsTask()),
            ("management grain", () => client.Grains.GetGrain<IManagementGrain>(0).GetHosts()),
            ("ticket of another tenant",
                () => client.Grains.GetGrain<ITicketGrain>(victim.Namespace.Tenant.ToString()).RenewAsync(ns.Tenant, []).AsTask()),
        ];
        foreach (var silo in client.Silos)
        {
            attacks.Add(($"system target of {silo}", () => Ping(client, silo)));
            attacks.Add(($"grain service of {silo}", () => AgentOf(client, silo).DescribeAsync().AsTask()));
            attacks.Add((
                $"delete at the grain service of {silo}", () => AgentOf(client, silo).DeleteAsync([victim], ulong.MaxValue).AsTask()));
        }

        var outcomes = new List<(string, Exception?)>();
        foreach (var (attack, call) in attacks)
        {
            var refusal = await Record.ExceptionAsync(call);
            Report.Line($"{attack}: {(refusal is null ? "GOT IT" : $"{refusal.GetType().Name}: {refusal.Message.Split('\n')[0]}")}");
            outcomes.Add((attack, refusal));
        }

        return outcomes;
    }

    /// <summary>Makes every further call of a client name another sender. Answers go to that one, so that calls seem to time out.</summary>
    public static void ForgeSender(OrleansClient client, GrainId sender)
    {
        var runtime = client.Services.GetRequiredService(TypeNamed("Orleans.OutsideRuntimeClient"));
        var address = new GrainAddress { GrainId = sender, ActivationId = ActivationId.NewId(), SiloAddress = client.Silos[0] };
        runtime.GetType().GetProperty("CurrentActivationAddress")!.GetSetMethod(nonPublic: true)!.Invoke(runtime, [address]);
    }

    /// <summary>Makes a client that has not connected yet say that it is another one.</summary>
    public static void ForgeIdentity(OrleansClient client, string identity)
    {
        var details = client.Services.GetRequiredService(TypeNamed("Orleans.LocalClientDetails"));
        var id = TypeNamed("Orleans.Runtime.ClientGrainId")
            .GetMethod("Create", BindingFlags.Public | BindingFlags.Static, [typeof(string)])!.Invoke(null, [identity]);
        details.GetType().GetField("<ClientId>k__BackingField", BindingFlags.NonPublic | BindingFlags.Instance)!.SetValue(details, id);
    }

    private static Task Ping(OrleansClient client, SiloAddress silo)
    {
        var control = TypeNamed("Orleans.ISiloControl");
        var target = client.Grains.GetGrain(SystemTargetGrainId.Create(SystemTargetGrainId.CreateGrainType("silo-control"), silo).GrainId);
        var ping = control.GetMethod("Ping")!;
        return (Task)ping.Invoke(
            target.AsReference(control),
            [.. ping.GetParameters()
            .Select(parameter => parameter.ParameterType == typeof(string) ? (object)"hello" : CancellationToken.None)])!;
    }

    private static ISiloAgent AgentOf(OrleansClient client, SiloAddress silo)
    {
        var code = (int)TypeNamed("Orleans.CodeGeneration.GrainInterfaceUtils")
            .GetMethod("GetGrainClassTypeCode", BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static)!.Invoke(
            null, [typeof(ISiloAgent)])!;
        return client.Grains.GetGrain(SystemTargetGrainId.CreateGrainServiceGrainId(code, null!, silo)).AsReference<ISiloAgent>();
    }

    private static Type TypeNamed(string name) => AppDomain.CurrentDomain.GetAssemblies()
        .Where(assembly => assembly.FullName!.StartsWith("Orleans", StringComparison.Ordinal))
        .Select(assembly => assembly.GetType(name)).First(type => type is not null)!;

    private sealed class ForgedMark(Func<object?> mark) : IOutgoingGrainCallFilter
    {
        public async Task Invoke(IOutgoingGrainCallContext context)
        {
            RequestContext.Remove(MarkKey);
            if (mark() is { } forged)
                RequestContext.Set(MarkKey, forged);
            await context.Invoke();
        }
    }
}
