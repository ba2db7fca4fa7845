using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.Files;
using KvCache.Silo.Options;

namespace KvCache.Silo.Accounts;

/// <summary>What an administrator has made of a tenant. Of two entries the one with the larger version is the truth.</summary>
/// <remarks>Settable: the generated reader would overwrite the defaults of init-only properties.</remarks>
internal sealed record TenantEntry
{
    public required ulong Version { get; init; }

    public string Secret { get; set; } = "";

    public string OtherSecret { get; set; } = "";

    /// <summary>A file of the silo's own configuration that has the secrets instead.</summary>
    public string SecretFile { get; set; } = "";

    public double Share { get; set; }

    public double MaxShare { get; set; } = 1;

    public double? PinShare { get; set; }

    public int MaxConnections { get; set; }

    /// <summary>Its clients are not let in, and nothing new of it is stored; what it has stays as long as nobody needs the
    /// memory.</summary>
    public bool Disabled { get; set; }

    /// <summary>Its blocks go everywhere, and it does not come back by a configuration that still names it.</summary>
    public bool Deleted { get; set; }

    public bool IsOpen => !Disabled && !Deleted;

    public TenantOptions.Tenant ToOptions() => new()
    {
        Secret = Secret,
        OtherSecret = OtherSecret,
        SecretFile = SecretFile,
        Share = Deleted ? 0 : Share,
        MaxShare = MaxShare,
        PinShare = PinShare,
        MaxConnections = MaxConnections,
    };

    public static TenantEntry Of(TenantOptions.Tenant tenant) => new()
    {
        Version = 0,
        Secret = tenant.Secret,
        OtherSecret = tenant.OtherSecret,
        SecretFile = tenant.SecretFile,
        Share = tenant.Share,
        MaxShare = tenant.MaxShare,
        PinShare = tenant.PinShare,
        MaxConnections = tenant.MaxConnections,
    };
}

/// <summary>All changes by name, as they are kept in a file and told to other silos.</summary>
internal static class TenantBook
{
    private const int MaxBytes = 64 << 20;

    /// <summary>Reads a book.</summary>
    /// <exception cref="FormatException">The bytes are none.</exception>
    public static Dictionary<string, TenantEntry> Read(ReadOnlySpan<byte> json)
    {
        try
        {
            var book = JsonSerializer.Deserialize(json, TenantBookJson.Default.DictionaryStringTenantEntry) ?? [];
            foreach (var (name, entry) in book)
            {
                if (entry is not { Secret: not null, OtherSecret: not null, SecretFile: not null })
                    throw new FormatException($"the tenant '{name}' is null in it, or one of its secrets is; text was expected.");
            }

            return book;
        }
        catch (JsonException e)
        {
            throw new FormatException($"it is not a book of tenants: {e.Message}", e);
        }
    }

    public static byte[] Write(Dictionary<string, TenantEntry> book) =>
        JsonSerializer.SerializeToUtf8Bytes(book, TenantBookJson.Default.DictionaryStringTenantEntry);

    /// <summary>Reads the file; empty when there is none yet.</summary>
    /// <exception cref="IOException">It cannot be read, or is none.</exception>
    public static Dictionary<string, TenantEntry> Load(string path)
    {
        if (path.Length == 0)
            return [];
        try
        {
            return Read(RegularFile.Read(path, MaxBytes));
        }
        catch (FileNotFoundException)
        {
            return [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{AccountOptions.Section}:File: {e.Message}", e);
        }
        catch (FormatException e)
        {
            throw new IOException($"{AccountOptions.Section}:File is '{path}', and {e.Message} Put back a good one, or remove it.", e);
        }
    }

    /// <summary>Replaces the file in one step: whoever is interrupted leaves the old one.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static void Save(string path, Dictionary<string, TenantEntry> book) =>
        RegularFile.Replace(path, Write(book), UnixFileMode.UserRead | UnixFileMode.UserWrite);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(Dictionary<string, TenantEntry>))]
internal sealed partial class TenantBookJson : JsonSerializerContext;
