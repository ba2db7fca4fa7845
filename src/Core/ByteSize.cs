using System.ComponentModel;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace KvCache;

/// <summary>A number of bytes that is written with a unit in configuration: <c>512MiB</c>, <c>4GiB</c>, <c>1.5TiB</c>, or a plain
/// number.</summary>
/// <param name="Bytes">The number.</param>
[TypeConverter(typeof(Converter))]
public readonly record struct ByteSize(long Bytes)
{
    private static readonly (string Suffix, long Factor)[] Units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40),
        ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000), ("B", 1),
    ];

    /// <summary>A number of mebibytes (2^20 bytes).</summary>
    public static ByteSize MiB(long count) => new(count << 20);

    /// <summary>Parses a number with an optional unit (KiB, MiB, GiB, TiB, KB, MB, GB, TB, B; letter case does not matter).</summary>
    /// <exception cref="FormatException">The text is not such a size.</exception>
    public static ByteSize Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var number = text.AsSpan().Trim();
        long factor = 1;
        foreach (var (suffix, value) in Units)
        {
            if (!number.EndsWith(suffix, StringComparison.OrdinalIgnoreCase))
                continue;
            number = number[..^suffix.Length].TrimEnd();
            factor = value;
            break;
        }

        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var count)
            || count > long.MaxValue / (decimal)factor)
            throw new FormatException($"'{text}' is not a size; a number with a unit was expected, for example 512MiB or 4GiB.");
        return new ByteSize((long)(count * factor));
    }

    /// <summary>The size with the largest binary unit that gives a number of at least 1.</summary>
    public override string ToString()
    {
        for (var i = 3; i >= 0; i--)
        {
            if (Bytes >= Units[i].Factor)
                return string.Create(CultureInfo.InvariantCulture, $"{(double)Bytes / Units[i].Factor:0.##}{Units[i].Suffix}");
        }

        return $"{Bytes}B";
    }

    [SuppressMessage("Performance", "CA1812", Justification = "Created by the configuration binder.")]
    private sealed class Converter : TypeConverter
    {
        public override bool CanConvertFrom(ITypeDescriptorContext? context, Type sourceType) => sourceType == typeof(string);

        public override object? ConvertFrom(ITypeDescriptorContext? context, CultureInfo? culture, object value) => Parse((string)value);
    }
}
