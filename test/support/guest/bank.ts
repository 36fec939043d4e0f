/**
 * A database-like load in a guest: transfers between accounts in SQLite, each a transaction that is flushed. The guest needs the program
 * sqlite3, and a file system at /mnt.
 */
const ACCOUNTS = 200
const SUM = ACCOUNTS * 100
const DATABASE = '/sbin/sqlite3 -bail -batch /mnt/bank.db'

/** Opens the bank. */
export const BANK_OPENING = `${DATABASE} "
PRAGMA journal_mode=WAL;
CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < ${ACCOUNTS - 1})
INSERT INTO account SELECT n, 100 FROM number;
CREATE TABLE transfer(id INTEGER PRIMARY KEY, filler BLOB NOT NULL);"`

/** Transfers until /tmp/stop is there; says `transfer N` when it is committed, and ends with 1 where SQLite fails or the sum is wrong. */
export const BANK_SCRIPT = `
n=0
while [ ! -e /tmp/stop ]; do
  {
    echo 'PRAGMA synchronous=FULL;'
    last=$((n + 10))
    while [ $n -lt $last ]; do
      n=$((n + 1))
      echo "BEGIN;
        UPDATE account SET balance = balance - 7 WHERE id = $((n * 31 % ${ACCOUNTS}));
        UPDATE account SET balance = balance + 7 WHERE id = $((n * 17 % ${ACCOUNTS}));
        INSERT INTO transfer VALUES ($n, randomblob(900));
        COMMIT;
        SELECT 'transfer $n';"
    done
  } > /tmp/bank.sql
  ${DATABASE} < /tmp/bank.sql || exit 1
  sum=$(${DATABASE} 'SELECT sum(balance) FROM account') || exit 1
  [ "$sum" = ${SUM} ] || { echo "the sum is $sum"; exit 1; }
done`

/** Prints the number of transfers; ends with 1 where the bank is not whole. */
export const BANK_AUDIT = `
[ "$(${DATABASE} 'PRAGMA integrity_check')" = ok ] || exit 1
[ "$(${DATABASE} 'SELECT sum(balance) FROM account')" = ${SUM} ] || exit 1
${DATABASE} 'SELECT count(*) FROM transfer WHERE id <= (SELECT max(id) FROM transfer)'`
