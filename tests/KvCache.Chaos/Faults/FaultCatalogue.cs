namespace KvCache.Chaos.Faults;

/// <summary>All faults there are.</summary>
internal static class FaultCatalogue
{
    private static readonly Func<Fault>[] Makers =
    [
        () => new KillFault(), () => new FreezeFault("freeze", 2), () => new FreezeFault("freeze-long", 20), () => new RollingFault(),
        () => new AllKilledFault(), () => new ClockFault("clock-behind", "-1h"), () => new ClockFault("clock-ahead", "+1h"),
        () => new RedisKillFault(), () => new RedisRestartFault(), () => new RedisFlushFault(), () => new RedisFreezeFault(),
        () => new RedisFullFault(), () => new RedisDamageFault(), () => new RedisFailoverFault(),
        () => new ClientCutFault(), () => new SiloCutFault(), () => new CutOffFault(), () => new RedisCutFault(),
        () => new ResetFault(), () => new SlowLinkFault(), () => new PressureFault(),
    ];

    private static readonly Dictionary<string, Func<Fault>> ByName = Makers.ToDictionary(make => make().Name);

    /// <summary>Names, in the order of the table.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Makers.Select(make => make().Name)];

    /// <summary>A fault for one round.</summary>
    public static Fault Create(string name) => ByName[name]();

    /// <summary>Whether there is one of this name.</summary>
    public static bool Has(string name) => ByName.ContainsKey(name);
}
