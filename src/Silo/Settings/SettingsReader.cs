using KvCache.Settings;
using KvCache.Silo.Options;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.EnvironmentVariables;
using Microsoft.Extensions.Configuration.Json;

namespace KvCache.Silo.Settings;

/// <summary>Looks at all that the configuration says before anybody uses it: what nobody reads and what is not of its kind is told, with
/// its name.</summary>
internal static class SettingsReader
{
    // What a settings file may have beside our own.
    private static readonly string[] Foreign = ["Logging", "AllowedHosts"];

    /// <summary>Checks the settings, and writes times and shares as the options understand them.</summary>
    /// <param name="configuration">All of it.</param>
    /// <param name="file">The file of <c>--config</c>, where nothing foreign is expected; null for none.</param>
    /// <returns>Settings that replace what was written.</returns>
    /// <exception cref="FormatException">Something is wrong; the message is one sentence.</exception>
    public static Dictionary<string, string?> Read(IConfigurationRoot configuration, string? file)
    {
        CheckNames(configuration, file);
        var replaced = new Dictionary<string, string?>();
        foreach (var (key, value) in configuration.GetSection(SettingsSchema.Root).AsEnumerable())
        {
            if (SettingsSchema.Find(key) is not { } type)
                throw new FormatException(
                    $"{key}{SourceOf(configuration, key, file)} is not a setting; perhaps {SettingsSchema.Nearest(key)} was meant.");
            if (value is null)
                continue;
            if (!SettingsSchema.IsScalar(type))
            {
                if (value.Length == 0)
                    continue; // an empty section or list of a JSON file
                throw new FormatException($"{key} is '{value}'; settings below it were expected, not a value.");
            }

            Check(key, value, type, replaced);
        }

        return replaced;
    }

    private static void Check(string key, string value, Type type, Dictionary<string, string?> replaced)
    {
        if (key.Equals($"{ArenaOptions.Section}:{nameof(ArenaOptions.Size)}", StringComparison.OrdinalIgnoreCase)
            && value.TrimEnd().EndsWith('%'))
            return; // resolved by MachineLimits, which knows of what
        var read = SettingValue.Read(key, value, type);
        if (read != value)
            replaced[key] = read;
    }

    private static void CheckNames(IConfigurationRoot configuration, string? file)
    {
        foreach (var child in configuration.GetChildren())
        {
            var name = child.Key;
            if (name.Equals(SettingsSchema.Root, StringComparison.OrdinalIgnoreCase))
                continue;
            if (file is not null && Has(configuration, name, provider => provider is JsonStreamConfigurationProvider)
                && !Foreign.Contains(name, StringComparer.OrdinalIgnoreCase))
                throw new FormatException(
                    SettingsSchema.SectionNames.FirstOrDefault(
                        known => known.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } section
                    ? $"{file} has '{name}' outside of '{SettingsSchema.Root}', where nobody reads it; "
                        + $"{{ \"{SettingsSchema.Root}\": {{ \"{section}\": … }} }} was expected."
                    : $"{file} has '{name}', which nobody reads; perhaps "
                        + $"'{NearestName.Of(name, Foreign.Append(SettingsSchema.Root))}' was meant.");

            // Other programs have settings in the environment too; only what looks like ours is taken for a mistake.
            if (child.GetChildren().Any() && NearestName.Distance(name, SettingsSchema.Root) <= 2)
                throw new FormatException(
                    $"'{name}'{SourceOf(configuration, name, file)} is not read; perhaps '{SettingsSchema.Root}' was meant.");
            if (name.StartsWith(SettingsSchema.Root + "_", StringComparison.OrdinalIgnoreCase)
                && SettingsSchema.Find(name.Replace('_', ':')) is { } type && SettingsSchema.IsScalar(type))
                throw new FormatException(
                    $"The environment variable {name} is not read; two underscores stand for a colon, so "
                    + $"{name.Replace("_", "__", StringComparison.Ordinal)} was expected.");
        }
    }

    private static string SourceOf(IConfigurationRoot configuration, string key, string? file)
    {
        foreach (var provider in configuration.Providers.Reverse())
        {
            if (!HasBelow(provider, key))
                continue;
            switch (provider)
            {
                case EnvironmentVariablesConfigurationProvider:
                    return $" (of the environment, {key.Replace(":", "__", StringComparison.Ordinal)})";
                case JsonStreamConfigurationProvider:
                    return $" (in {file})";
                case JsonConfigurationProvider json:
                    return $" (in {json.Source.Path})";
            }
        }

        return "";
    }

    private static bool Has(IConfigurationRoot configuration, string key, Func<IConfigurationProvider, bool> kind) =>
        configuration.Providers.Any(provider => kind(provider) && HasBelow(provider, key));

    private static bool HasBelow(IConfigurationProvider provider, string key) =>
        provider.TryGet(key, out _) || provider.GetChildKeys([], key).Any();
}
