using System.Text;

namespace KvCache.Files;

/// <summary>A client's secret: a given one, or that of a file, which is read whenever the secret is wanted, so that it is exchanged
/// without a restart. A file that cannot be used changes nothing.</summary>
internal sealed class ClientSecret
{
    private readonly string _file;
    private volatile string _value;
    private string? _problem;

    /// <summary>Reads the file.</summary>
    /// <param name="secret">The secret; empty for none, or where there is a file.</param>
    /// <param name="file">File with the secret in its first line that is not empty; empty for none.</param>
    /// <exception cref="IOException">The file cannot be used, or there are both; the message is one sentence.</exception>
    public ClientSecret(string secret, string file)
    {
        if (secret.Length > 0 && file.Length > 0)
            throw new IOException("Secret and SecretFile are both set; one of them was expected.");
        _file = file;
        _value = secret;
        if (file.Length > 0)
            _value = Read();
    }

    /// <summary>Told in a sentence when the file cannot be used any more; once, until it can again, or the sentence is another
    /// one.</summary>
    public Action<string>? Refused { get; set; }

    /// <summary>The secret of now.</summary>
    public string Value
    {
        get
        {
            if (_file.Length == 0)
                return _value;
            try
            {
                _value = Read();
                _problem = null;
            }
            catch (IOException e)
            {
                if (Interlocked.Exchange(ref _problem, e.Message) != e.Message)
                    Refused?.Invoke(e.Message);
            }

            return _value;
        }
    }

    private string Read()
    {
        try
        {
            var text = Encoding.UTF8.GetString(RegularFile.Read(_file, RegularFile.MaxSecretBytes));
            return text.Split('\n').Select(line => line.Trim()).FirstOrDefault(line => line.Length > 0)
                ?? throw new IOException($"'{_file}' has no line with a secret.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new IOException($"SecretFile: {e.Message}", e);
        }
    }
}
