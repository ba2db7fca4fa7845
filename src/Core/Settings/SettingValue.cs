using System.ComponentModel;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace KvCache.Settings;

/// <summary>A value of a setting as it is written.</summary>
internal static class SettingValue
{
    /// <summary>Checks a value.</summary>
    /// <param name="key">Name of the setting.</param>
    /// <param name="value">What is written.</param>
    /// <param name="type">Type of the setting, one value.</param>
    /// <returns>What the binder of .NET understands by it.</returns>
    /// <exception cref="FormatException">It is not of its kind; the message is one sentence.</exception>
    [RequiresUnreferencedCode("Values are converted by reflection.")]
    public static string Read(string key, string value, Type type)
    {
        if (Nullable.GetUnderlyingType(type) is { } underlying)
            return value.Length == 0 ? value : Read(key, value, underlying);
        if (type == typeof(string))
            return value;
        if (type == typeof(TimeSpan))
            return Duration.TryParse(value, out var time)
                ? time.ToString("c", CultureInfo.InvariantCulture)
                : throw new FormatException($"{key} is '{value}'; {Duration.Expected}.");
        return CanConvert(type, value) ? value : throw new FormatException($"{key} is '{value}'; {ExpectedOf(type)} was expected.");
    }

    [RequiresUnreferencedCode("Values are converted by reflection.")]
    private static bool CanConvert(Type type, string value)
    {
        try
        {
            return TypeDescriptor.GetConverter(type).ConvertFromInvariantString(value) is not Enum choice
                || type.IsDefined(typeof(FlagsAttribute), inherit: false) || Enum.IsDefined(type, choice);
        }
        catch (Exception e) when (e is FormatException or ArgumentException or NotSupportedException or OverflowException)
        {
            return false;
        }
    }

    private static string ExpectedOf(Type type) => type switch
    {
        _ when type == typeof(bool) => "true or false",
        _ when type == typeof(ByteSize) => "a size such as 512MiB or 4GiB",
        _ when type == typeof(double) => "a number such as 0.25",
        { IsEnum: true } => string.Join(" or ", Enum.GetNames(type)),
        _ => "a whole number",
    };
}
