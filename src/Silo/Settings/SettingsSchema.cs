using System.Collections;
using System.Reflection;
using KvCache.Engine.Storage;
using KvCache.Grains.Prefixes;
using KvCache.Settings;
using KvCache.Silo.Events;
using KvCache.Silo.Http;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;

namespace KvCache.Silo.Settings;

/// <summary>Every setting that a silo reads, as its options declare it: what is not here, nobody reads.</summary>
internal static class SettingsSchema
{
    /// <summary>Section that holds all of them.</summary>
    public const string Root = "KvCache";

    private static readonly Dictionary<string, Type> Sections = new(StringComparer.OrdinalIgnoreCase)
    {
        [ArenaOptions.Section] = typeof(ArenaOptions),
        ["KvCache:Store"] = typeof(BlockStoreOptions),
        [DataPlaneOptions.Section] = typeof(DataPlaneOptions),
        ["KvCache:Prefixes"] = typeof(PrefixGrainOptions),
        [ClusterOptions.Section] = typeof(ClusterOptions),
        [EventOptions.Section] = typeof(EventOptions),
        [TenantOptions.Section] = typeof(Dictionary<string, TenantOptions.Tenant>),
        [AccountOptions.Section] = typeof(AccountOptions),
        [RespOptions.Section] = typeof(RespOptions),
        [LmCacheOptions.Section] = typeof(LmCacheOptions),
        [TlsOptions.Section] = typeof(TlsOptions),
        [ReloadOptions.Section] = typeof(ReloadOptions),
        [OrleansDoorOptions.Section] = typeof(OrleansDoorOptions),
        [RedisTierOptions.Section] = typeof(RedisTierOptions),
        [DiskOptions.Section] = typeof(DiskOptions),
        [RecordingOptions.Section] = typeof(RecordingOptions),
        [HttpApiOptions.Section] = typeof(HttpApiOptions),
    };

    /// <summary>Names of the sections, without the root.</summary>
    public static IEnumerable<string> SectionNames => Sections.Keys.Select(section => section[(Root.Length + 1)..]);

    /// <summary>All settings; NAME stands for a name or a number that the user chooses.</summary>
    public static IEnumerable<string> Names => Sections.SelectMany(section => Leaves(section.Key, section.Value, []));

    /// <summary>The type behind a key; null when nobody reads it.</summary>
    public static Type? Find(string key)
    {
        if (key.Equals(Root, StringComparison.OrdinalIgnoreCase))
            return typeof(IDictionary);
        var parts = key.Split(':');
        if (parts.Length < 2 || !Sections.TryGetValue($"{parts[0]}:{parts[1]}", out var type))
            return null;
        foreach (var name in parts.Skip(2))
        {
            if (ElementOf(type) is { } element)
                type = element;
            else if (IsScalar(type) || PropertyOf(type, name) is not { } property)
                return null;
            else
                type = property.PropertyType;
        }

        return type;
    }

    /// <summary>The key that was probably meant by one that nobody reads.</summary>
    public static string Nearest(string key)
    {
        var parts = key.Split(':');
        var section = parts.Length > 1
            ? Sections.ContainsKey($"{Root}:{parts[1]}") ? parts[1] : NearestName.Of(parts[1], SectionNames)
            : SectionNames.First();
        if (parts.Length < 3)
            return $"{Root}:{SectionNames.First(name => name.Equals(section, StringComparison.OrdinalIgnoreCase))}";
        var all = Sections.SelectMany(known => Leaves(known.Key, known.Value, parts)).ToList();
        var here = all.Where(known => known.StartsWith($"{Root}:{section}:", StringComparison.OrdinalIgnoreCase)).ToList();

        // The right name in the wrong section is nearer than a wrong name in the right one.
        return all.Find(known => !here.Contains(known) && LastOf(known).Equals(parts[^1], StringComparison.OrdinalIgnoreCase)
                && !here.Exists(near => NearestName.Distance(LastOf(near), parts[^1]) < 3))
            ?? NearestName.Of(string.Join(':', parts), here);
    }

    /// <summary>Whether a type is one value, and not settings by name.</summary>
    public static bool IsScalar(Type type) => type == typeof(string) || type.IsValueType;

    /// <summary>The type of the elements of a list or a dictionary; null for anything else.</summary>
    private static Type? ElementOf(Type type) => type == typeof(string)
        ? null
        : type.GetInterfaces().Append(type).FirstOrDefault(
            face => face.IsGenericType && face.GetGenericTypeDefinition() == typeof(IDictionary<,>))?.GetGenericArguments()[1]
            ?? type.GetInterfaces().Append(type).FirstOrDefault(
            face => face.IsGenericType && face.GetGenericTypeDefinition() == typeof(ICollection<>))?.GetGenericArguments()[0];

    private static PropertyInfo? PropertyOf(Type type, string name) =>
        type.GetProperties().FirstOrDefault(property => property.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    private static string LastOf(string key) => key[(key.LastIndexOf(':') + 1)..];

    // Names inside of lists and dictionaries are the caller's: they are taken over.
    private static IEnumerable<string> Leaves(string key, Type type, string[] like)
    {
        if (ElementOf(type) is { } element)
        {
            var depth = key.Count(':') + 1;
            return Leaves($"{key}:{(like.Length > depth ? like[depth] : "NAME")}", element, like);
        }

        return IsScalar(type)
            ? [key]
            : type.GetProperties().SelectMany(property => Leaves($"{key}:{property.Name}", property.PropertyType, like));
    }
}
