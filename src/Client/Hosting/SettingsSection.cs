using System.Diagnostics.CodeAnalysis;
using KvCache.Settings;
using Microsoft.Extensions.Configuration;

namespace KvCache.Client.Hosting;

/// <summary>A section of the configuration as the settings of options: what nobody reads and what is not of its kind is told, with its name
/// and with what was expected.</summary>
internal static class SettingsSection
{
    /// <summary>Reads a section.</summary>
    /// <param name="section">The section.</param>
    /// <param name="type">Type of the options, whose properties are the settings.</param>
    /// <param name="problems">Takes a sentence for each thing that is wrong.</param>
    /// <returns>What the binder of .NET understands by it.</returns>
    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    public static IConfiguration Read(IConfiguration section, Type type, List<string> problems)
    {
        var values = new Dictionary<string, string?>();
        foreach (var child in section.GetChildren())
            ReadSetting(child, type, "", values, problems);
        return new ConfigurationBuilder().AddInMemoryCollection(values).Build();
    }

    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    private static void ReadSetting(
        IConfigurationSection setting, Type type, string above, Dictionary<string, string?> values, List<string> problems)
    {
        var known = type.GetProperties().Where(property => property.GetMethod is { IsPublic: true, IsStatic: false }).ToArray();
        var property = Array.Find(known, property => property.Name.Equals(setting.Key, StringComparison.OrdinalIgnoreCase));
        if (property is not null)
            ReadValue(setting, property.PropertyType, above + setting.Key, values, problems);
        else
            problems.Add(
                $"{setting.Path} is not a setting; perhaps {NearestName.Of(setting.Key, known.Select(one => one.Name))} was meant.");
    }

    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    private static void ReadValue(
        IConfigurationSection setting, Type type, string key, Dictionary<string, string?> values, List<string> problems)
    {
        var isList = type == typeof(IList<string>);
        if (isList || !IsScalar(type))
        {
            if (!string.IsNullOrEmpty(setting.Value))
                problems.Add($"{setting.Path} is '{setting.Value}'; {(isList ? "a list was" : "settings below it were")} expected, such as "
                    + $"{setting.Path}:{(isList ? "0" : type.GetProperties()[0].Name)}.");
            foreach (var child in setting.GetChildren())
            {
                if (isList)
                    ReadValue(child, typeof(string), $"{key}:{child.Key}", values, problems);
                else
                    ReadSetting(child, type, $"{key}:", values, problems);
            }
        }
        else if (setting.GetChildren().Any())
        {
            problems.Add($"{setting.Path} has settings below it; one value was expected.");
        }
        else if (setting.Value is { } value)
        {
            try
            {
                values[key] = SettingValue.Read(setting.Path, value, type);
            }
            catch (FormatException e)
            {
                problems.Add(e.Message);
            }
        }
    }

    private static bool IsScalar(Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        return type == typeof(string) || type.IsPrimitive || type.IsEnum || type == typeof(TimeSpan) || type == typeof(ByteSize);
    }
}
